#include "ingest/redis_tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "ingest/byte_stream.h"
#include "ingest/late_library.h"

namespace cairn::ingest {
namespace {

class Libssl : LateLibrary {
 public:
  Libssl()
      : LateLibrary(
            "libssl.so.3",
            "the library for TLS cannot be loaded; install Debian's libssl3") {}

  // As OpenSSL calls them. NOLINTBEGIN(readability-identifier-naming)
  decltype(&::SSL_CTX_check_private_key) SSL_CTX_check_private_key =
      find("SSL_CTX_check_private_key");
  decltype(&::SSL_CTX_ctrl) SSL_CTX_ctrl = find("SSL_CTX_ctrl");
  decltype(&::SSL_CTX_free) SSL_CTX_free = find("SSL_CTX_free");
  decltype(&::SSL_CTX_load_verify_locations) SSL_CTX_load_verify_locations =
      find("SSL_CTX_load_verify_locations");
  decltype(&::SSL_CTX_new) SSL_CTX_new = find("SSL_CTX_new");
  decltype(&::SSL_CTX_set_default_passwd_cb) SSL_CTX_set_default_passwd_cb =
      find("SSL_CTX_set_default_passwd_cb");
  decltype(&::SSL_CTX_set_default_verify_paths)
      SSL_CTX_set_default_verify_paths =
          find("SSL_CTX_set_default_verify_paths");
  decltype(&::SSL_CTX_set_options) SSL_CTX_set_options =
      find("SSL_CTX_set_options");
  decltype(&::SSL_CTX_set_verify) SSL_CTX_set_verify =
      find("SSL_CTX_set_verify");
  decltype(&::SSL_CTX_use_PrivateKey_file) SSL_CTX_use_PrivateKey_file =
      find("SSL_CTX_use_PrivateKey_file");
  decltype(&::SSL_CTX_use_certificate_chain_file)
      SSL_CTX_use_certificate_chain_file =
          find("SSL_CTX_use_certificate_chain_file");
  decltype(&::SSL_connect) SSL_connect = find("SSL_connect");
  decltype(&::SSL_ctrl) SSL_ctrl = find("SSL_ctrl");
  decltype(&::SSL_free) SSL_free = find("SSL_free");
  decltype(&::SSL_get0_param) SSL_get0_param = find("SSL_get0_param");
  decltype(&::SSL_get_error) SSL_get_error = find("SSL_get_error");
  decltype(&::SSL_get_verify_result) SSL_get_verify_result =
      find("SSL_get_verify_result");
  decltype(&::SSL_new) SSL_new = find("SSL_new");
  decltype(&::SSL_read) SSL_read = find("SSL_read");
  decltype(&::SSL_set_fd) SSL_set_fd = find("SSL_set_fd");
  decltype(&::SSL_write) SSL_write = find("SSL_write");
  decltype(&::TLS_client_method) TLS_client_method = find("TLS_client_method");
  // NOLINTEND(readability-identifier-naming)
};

// Throws ProducerFailed where it is not installed.
const Libssl& ssl() {
  static const Libssl libssl;
  return libssl;
}

struct FreeContext {
  void operator()(SSL_CTX* context) const { ssl().SSL_CTX_free(context); }
};
struct FreeTls {
  void operator()(SSL* tls) const { ssl().SSL_free(tls); }
};

// The first error, which is the cause; empty: there is none.
std::string first_error() {
  const unsigned long code = ::ERR_get_error();
  ::ERR_clear_error();
  if (code == 0) return {};
  const char* const reason = ::ERR_reason_error_string(code);
  if (reason != nullptr) return reason;
  if (ERR_SYSTEM_ERROR(code)) return std::strerror(ERR_GET_REASON(code));
  return "error " + std::to_string(code);
}

[[noreturn]] void fail(const std::string& what) {
  const std::string why = first_error();
  throw ProducerFailed(what + (why.empty() ? "" : ": " + why));
}

// A key that wants a passphrase is refused: there is nobody to ask.
int no_passphrase(char* /*out*/, int /*size*/, int /*is_for_writing*/,
                  void* /*ours*/) {
  return -1;
}

bool is_address(const std::string& name) {
  std::array<unsigned char, sizeof(in6_addr)> address{};
  return ::inet_pton(AF_INET, name.c_str(), address.data()) == 1 ||
         ::inet_pton(AF_INET6, name.c_str(), address.data()) == 1;
}

}  // namespace

struct RedisTls::State {
  std::unique_ptr<SSL_CTX, FreeContext> context;
  std::unique_ptr<SSL, FreeTls> tls;

  void read_files(const RedisTlsOptions& options) const {
    const auto& lib = ssl();
    auto* const all = context.get();
    if (options.ca) {
      if (lib.SSL_CTX_load_verify_locations(all, options.ca->c_str(),
                                            nullptr) != 1) {
        fail("tls: no certificates can be read from " + *options.ca);
      }
    } else if (lib.SSL_CTX_set_default_verify_paths(all) != 1) {
      fail("tls: the system's certificates cannot be read");
    }
    if (!options.cert) return;
    if (lib.SSL_CTX_use_certificate_chain_file(all, options.cert->c_str()) !=
        1) {
      fail("tls: no certificate can be read from " + *options.cert);
    }
    const std::string& key = options.key ? *options.key : *options.cert;
    if (lib.SSL_CTX_use_PrivateKey_file(all, key.c_str(), SSL_FILETYPE_PEM) !=
            1 ||
        lib.SSL_CTX_check_private_key(all) != 1) {
      fail("tls: no key to the certificate can be read from " + key +
           ", without a passphrase");
    }
  }

  void expect(const std::string& name) const {
    auto* const param = ssl().SSL_get0_param(tls.get());
    const int done =
        is_address(name)
            ? ::X509_VERIFY_PARAM_set1_ip_asc(param, name.c_str())
            : ::X509_VERIFY_PARAM_set1_host(param, name.data(), name.size());
    if (done != 1) fail("tls: '" + name + "' is no name of a server");
    if (is_address(name)) return;
    std::string text = name;
    (void)ssl().SSL_ctrl(tls.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME,
                         TLSEXT_NAMETYPE_host_name, text.data());
  }

  // Of what a call answered.
  Moved moved(int answer) const {
    if (answer > 0) return {.size = static_cast<std::size_t>(answer)};
    const int system_error = errno;
    switch (ssl().SSL_get_error(tls.get(), answer)) {
      case SSL_ERROR_WANT_READ:
        return {.wants = Wants::to_read};
      case SSL_ERROR_WANT_WRITE:
        return {.wants = Wants::to_write};
      case SSL_ERROR_ZERO_RETURN:
        return {.has_ended = true};
      case SSL_ERROR_SYSCALL:
        ::ERR_clear_error();
        if (system_error == 0 || system_error == ECONNRESET ||
            system_error == EPIPE) {
          return {.has_ended = true};
        }
        throw ProducerFailed("tls: " +
                             std::string(std::strerror(system_error)));
      default:
        fail("tls: the server and we do not agree");
    }
  }
};

RedisTls::RedisTls(int fd, const RedisTlsOptions& options)
    : state_(std::make_unique<State>()) {
  const auto& lib = ssl();
  ::ERR_clear_error();
  state_->context.reset(lib.SSL_CTX_new(lib.TLS_client_method()));
  auto* const context = state_->context.get();
  if (context == nullptr) fail("tls: cannot begin");
  lib.SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  lib.SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  (void)lib.SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION,
                         TLS1_2_VERSION, nullptr);
  (void)lib.SSL_CTX_ctrl(
      context, SSL_CTRL_MODE,
      SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER,
      nullptr);
  // Redis says in its own protocol where something ends.
  (void)lib.SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  state_->read_files(options);
  state_->tls.reset(lib.SSL_new(context));
  if (!state_->tls || lib.SSL_set_fd(state_->tls.get(), fd) != 1) {
    fail("tls: cannot begin");
  }
  state_->expect(options.name);
}

RedisTls::~RedisTls() = default;
RedisTls::RedisTls(RedisTls&&) noexcept = default;
RedisTls& RedisTls::operator=(RedisTls&&) noexcept = default;

RedisTls::Wants RedisTls::shake_hands() {
  ::ERR_clear_error();
  errno = 0;
  const int answer = ssl().SSL_connect(state_->tls.get());
  if (answer == 1) return Wants::nothing;
  const long verified = ssl().SSL_get_verify_result(state_->tls.get());
  if (verified != X509_V_OK) {
    ::ERR_clear_error();
    throw ProducerFailed(
        "tls: the server's certificate is not trusted: " +
        std::string(::X509_verify_cert_error_string(verified)) +
        "; tls_ca says who vouches for it, tls_name which name it has");
  }
  const auto moved = state_->moved(answer);
  if (moved.has_ended) {
    throw ProducerFailed(
        "tls: the server ended the connection; does it speak TLS at that "
        "port?");
  }
  return moved.wants;
}

RedisTls::Moved RedisTls::read(std::span<std::byte> out) {
  ::ERR_clear_error();
  errno = 0;
  return state_->moved(
      ssl().SSL_read(state_->tls.get(), out.data(),
                     static_cast<int>(std::min<std::size_t>(
                         out.size(), std::numeric_limits<int>::max()))));
}

RedisTls::Moved RedisTls::write(std::span<const std::byte> bytes) {
  ::ERR_clear_error();
  errno = 0;
  return state_->moved(
      ssl().SSL_write(state_->tls.get(), bytes.data(),
                      static_cast<int>(std::min<std::size_t>(
                          bytes.size(), std::numeric_limits<int>::max()))));
}

}  // namespace cairn::ingest
