// The body of a key slot, in an envelope that is right.
#include "repo/envelope.h"
#include "repo/key_slot.h"
#include "repo/keyring.h"
#include "tests/fuzz/fuzzing.h"
#include "tests/support/memory_storage.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace cairn;
  const auto bytes = fuzzing::bytes_of(data, size);
  testing_support::MemoryStorage storage;
  (void)storage.create(repo::key_slot_name(repo::KeySlotId{}),
                       repo::enclose(repo::ObjectType::key_slot, bytes));
  fuzzing::allow_refusal([&] {
    const auto list = repo::list_key_slots(storage);
    fuzzing::require(list.slots.size() + list.damaged.size() <= 1);
  });
  // By a key file: a passphrase would take a while for each slot.
  fuzzing::allow_refusal([&] {
    const auto key = crypto::Secret::from_bytes(std::vector<std::byte>(32));
    try {
      (void)repo::open_with_key_file(storage, repo::Config{}, key);
      std::abort();
    } catch (const repo::WrongKey&) {
    }
  });
  return 0;
}
