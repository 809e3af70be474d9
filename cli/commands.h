// The commands, each made in the cmd_<name>.cc of its first word.
#pragma once

#include "cli/command_line.h"

namespace cairn::cli {

[[nodiscard]] Command audit_show_command();
[[nodiscard]] Command audit_verify_command();
[[nodiscard]] Command backup_command();
[[nodiscard]] Command cat_command();
[[nodiscard]] Command check_command();
[[nodiscard]] Command config_init_command();
[[nodiscard]] Command config_show_command();
[[nodiscard]] Command config_validate_command();
[[nodiscard]] Command copy_command();
[[nodiscard]] Command daemon_command();
[[nodiscard]] Command diff_command();
[[nodiscard]] Command find_command();
[[nodiscard]] Command forget_command();
[[nodiscard]] Command hold_add_command();
[[nodiscard]] Command hold_list_command();
[[nodiscard]] Command hold_remove_command();
[[nodiscard]] Command init_command();
[[nodiscard]] Command key_add_command();
[[nodiscard]] Command key_list_command();
[[nodiscard]] Command key_remove_command();
[[nodiscard]] Command key_rotate_command();
[[nodiscard]] Command ls_command();
[[nodiscard]] Command pg_base_command();
[[nodiscard]] Command pg_check_command();
[[nodiscard]] Command pg_dump_command();
[[nodiscard]] Command pg_setup_command();
[[nodiscard]] Command pg_wal_fetch_command();
[[nodiscard]] Command pg_wal_push_command();
[[nodiscard]] Command pg_range_command();
[[nodiscard]] Command pg_wal_receive_command();
[[nodiscard]] Command policy_explain_command();
[[nodiscard]] Command policy_simulate_command();
[[nodiscard]] Command prune_command();
[[nodiscard]] Command repair_index_command();
[[nodiscard]] Command repair_keys_command();
[[nodiscard]] Command repair_packs_command();
[[nodiscard]] Command repair_snapshots_command();
[[nodiscard]] Command restore_command();
[[nodiscard]] Command run_command();
[[nodiscard]] Command schedule_install_command();
[[nodiscard]] Command schedule_remove_command();
[[nodiscard]] Command schedule_show_command();
[[nodiscard]] Command schedule_status_command();
[[nodiscard]] Command snapshots_command();
[[nodiscard]] Command stats_command();
[[nodiscard]] Command status_command();
[[nodiscard]] Command version_command();

}  // namespace cairn::cli
