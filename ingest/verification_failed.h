// What a restore that was tried out turned out to be.
#pragma once

#include "repo/error.h"

namespace cairn::ingest {

// It does not start or recover as it should, or is not what it should be.
struct VerificationFailed : repo::Error {
  using repo::Error::Error;
};

}  // namespace cairn::ingest
