// Whether to do what was found out, or only to say it.
#pragma once

namespace cairn::repo {

enum class Carry { out, plan_only };

}  // namespace cairn::repo
