#include "repo/role.h"

namespace cairn::repo {

std::string_view name_of(Role role) noexcept {
  switch (role) {
    case Role::owner:
      return "owner";
    case Role::restore:
      return "restore";
    case Role::list:
      return "list";
    case Role::maintain:
      return "maintain";
    case Role::write:
      return "write";
  }
  return "unknown";
}

bool reads(Role role, KeyClass key_class) noexcept {
  switch (role) {
    case Role::owner:
    case Role::restore:
      return true;
    case Role::list:
      return key_class != KeyClass::content;
    case Role::maintain:
    case Role::write:
      return key_class == KeyClass::links;
  }
  return false;
}

}  // namespace cairn::repo
