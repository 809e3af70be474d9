// Answers of libsodium's slow functions, remembered: they depend on nothing but
// what they are asked, and the many processes of thousands of worlds ask the
// same again and again, which was a third of their time. Stands in for them in
// programs that are linked with cairn_remember_crypto (tests/CMakeLists.txt).
#include <sodium.h>

#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

constexpr std::size_t kMost = 10'000;  // a world asks a few hundred questions

std::string_view text(const unsigned char* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

class Answers {
 public:
  // Empty: unknown.
  std::string find(const std::string& question) {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(question);
    return found == known_.end() ? std::string() : found->second;
  }

  void add(const std::string& question, std::string_view answer) {
    const std::lock_guard lock(mutex_);
    if (known_.size() >= kMost) known_.clear();
    known_.emplace(question, answer);
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::string> known_;
};

Answers& answers() {
  static Answers all;
  return all;
}

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): the linker demands these names.
extern "C" {

int __real_crypto_sign_verify_detached(const unsigned char* signature,
                                       const unsigned char* message,
                                       unsigned long long size,
                                       const unsigned char* key);

// Remembers what is right alone.
int __wrap_crypto_sign_verify_detached(const unsigned char* signature,
                                       const unsigned char* message,
                                       unsigned long long size,
                                       const unsigned char* key) {
  std::string question = "verify";
  question += text(signature, crypto_sign_BYTES);
  question += text(key, crypto_sign_PUBLICKEYBYTES);
  question += text(message, size);
  if (!answers().find(question).empty()) return 0;
  const int outcome =
      __real_crypto_sign_verify_detached(signature, message, size, key);
  if (outcome == 0) answers().add(question, "right");
  return outcome;
}

int __real_crypto_sign_seed_keypair(unsigned char* public_key,
                                    unsigned char* secret_key,
                                    const unsigned char* seed);

int __wrap_crypto_sign_seed_keypair(unsigned char* public_key,
                                    unsigned char* secret_key,
                                    const unsigned char* seed) {
  const std::string question =
      "key pair" + std::string(text(seed, crypto_sign_SEEDBYTES));
  const std::string answer = answers().find(question);
  if (answer.empty()) {
    const int outcome =
        __real_crypto_sign_seed_keypair(public_key, secret_key, seed);
    answers().add(
        question,
        std::string(text(public_key, crypto_sign_PUBLICKEYBYTES)) +
            std::string(text(secret_key, crypto_sign_SECRETKEYBYTES)));
    return outcome;
  }
  answer.copy(reinterpret_cast<char*>(public_key), crypto_sign_PUBLICKEYBYTES);
  answer.copy(reinterpret_cast<char*>(secret_key), crypto_sign_SECRETKEYBYTES,
              crypto_sign_PUBLICKEYBYTES);
  return 0;
}

int __real_crypto_scalarmult_base(unsigned char* public_key,
                                  const unsigned char* secret_key);

int __wrap_crypto_scalarmult_base(unsigned char* public_key,
                                  const unsigned char* secret_key) {
  const std::string question =
      "public key" +
      std::string(text(secret_key, crypto_scalarmult_SCALARBYTES));
  const std::string answer = answers().find(question);
  if (answer.empty()) {
    const int outcome = __real_crypto_scalarmult_base(public_key, secret_key);
    answers().add(question, text(public_key, crypto_scalarmult_BYTES));
    return outcome;
  }
  answer.copy(reinterpret_cast<char*>(public_key), crypto_scalarmult_BYTES);
  return 0;
}

int __real_crypto_box_seal_open(unsigned char* plain,
                                const unsigned char* sealed,
                                unsigned long long size,
                                const unsigned char* public_key,
                                const unsigned char* secret_key);

int __wrap_crypto_box_seal_open(unsigned char* plain,
                                const unsigned char* sealed,
                                unsigned long long size,
                                const unsigned char* public_key,
                                const unsigned char* secret_key) {
  std::string question = "open";
  question += text(secret_key, crypto_box_SECRETKEYBYTES);
  question += text(public_key, crypto_box_PUBLICKEYBYTES);
  question += text(sealed, size);
  const std::string answer = answers().find(question);
  if (answer.empty()) {
    const int outcome = __real_crypto_box_seal_open(plain, sealed, size,
                                                    public_key, secret_key);
    if (outcome == 0) {
      answers().add(question, text(plain, size - crypto_box_SEALBYTES));
    }
    return outcome;
  }
  answer.copy(reinterpret_cast<char*>(plain), answer.size());
  return 0;
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
