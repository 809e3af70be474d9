// Makes this process's kernel an older one: the given system calls answer
// ENOSYS from here on, or what else a sandbox says. There is no way back, so
// call it in a child process, as EXPECT_EXIT gives one.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <system_error>
#include <vector>

namespace cairn::testing_support {

inline void deny_syscalls(std::initializer_list<unsigned> numbers,
                          unsigned error = ENOSYS) {
  constexpr unsigned kNumberAt = offsetof(seccomp_data, nr);
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumberAt));
  for (const unsigned number : numbers) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    program.push_back(
        BPF_STMT(BPF_RET | BPF_K, unsigned{SECCOMP_RET_ERRNO} | error));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{.len = static_cast<unsigned short>(program.size()),
                          .filter = program.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    throw std::system_error(errno, std::generic_category(), "seccomp");
  }
}

}  // namespace cairn::testing_support
