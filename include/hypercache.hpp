/*
 * hypercache.hpp - HyperCache for C++17 and later, header-only, on hypercache.h
 *
 *   #include <hypercache.hpp>
 *   #include <chrono>
 *   #include <iostream>
 *
 *   int main() {
 *       using namespace std::chrono_literals;
 *       auto pool = hypercache::pool::create(64 << 20);
 *       if (!pool) { std::cerr << pool.error().message() << '\n'; return 1; }
 *       auto store = pool->open_store();
 *       if (!store) { std::cerr << store.error().message() << '\n'; return 1; }
 *
 *       if (auto done = store->set("greeting", "hello", 5min); !done) return 1;
 *       if (auto value = store->get("greeting")) std::cout << *value << '\n';
 *   }
 *
 * Nothing here throws by itself, and nothing needs exceptions or RTTI; what allocates (std::string,
 * std::vector) may throw std::bad_alloc. Three kinds of answers:
 *
 *   outcome     a status: true if HC_OK. A miss, a conflict, a failure are all false; ask code().
 *   maybe<T>    a std::optional<T> that knows why it is empty: status(), failed().
 *   result<T>   a T or an error with a sentence for a person, from calls off the hot path.
 *
 * Keys and values are `bytes`: text, std::string_view, or anything with data() and size() of
 * one-byte elements (std::vector<std::byte>, std::span<const std::uint8_t>, ...).
 *
 * Objects give back what they hold when they go. pool, store and filter are shared references and may
 * be copied; view, draft, scan and watch are moved. Threads as in hypercache.h.
 */
#ifndef HYPERCACHE_HPP
#define HYPERCACHE_HPP

#include <hypercache.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace hypercache {

/* ---- Answers ------------------------------------------------------------------------ */

/* "HC_NOT_FOUND" and the like. */
inline const char *name_of(hc_status status) noexcept { return hc_status_name(status); }

/* A status. */
class [[nodiscard]] outcome {
public:
    constexpr outcome(hc_status code) noexcept : code_(code) {}

    constexpr explicit operator bool() const noexcept { return code_ == HC_OK; }
    constexpr hc_status code() const noexcept { return code_; }
    /* Whether it is a failure rather than an ordinary outcome such as a miss. */
    constexpr bool failed() const noexcept { return code_ < 0; }
    const char *name() const noexcept { return hc_status_name(code_); }

    friend constexpr bool operator==(outcome a, hc_status b) noexcept { return a.code_ == b; }
    friend constexpr bool operator!=(outcome a, hc_status b) noexcept { return a.code_ != b; }

private:
    hc_status code_;
};

/* A value, or none and why. */
template <class T>
class [[nodiscard]] maybe : public std::optional<T> {
public:
    maybe(outcome why) noexcept : status_(why.code()) {}
    maybe(T value) noexcept(std::is_nothrow_move_constructible_v<T>)
        : std::optional<T>(std::move(value)), status_(HC_OK) {}

    constexpr hc_status status() const noexcept { return status_; }
    /* Whether the call failed; a mere miss is no failure. */
    constexpr bool failed() const noexcept { return status_ < 0; }

private:
    hc_status status_;
};

/* A failure in detail. */
class error {
public:
    error() noexcept { HC_INIT(&raw_); }

    hc_status code() const noexcept { return raw_.status; }
    const char *name() const noexcept { return hc_status_name(raw_.status); }
    /* errno of the system call that was refused, 0 if none was. */
    std::int32_t os_error() const noexcept { return raw_.os_error; }
    /* One English sentence. */
    const char *message() const noexcept { return raw_.message; }

    hc_error *raw() noexcept { return &raw_; }
    /* Notes a status that came without detail. */
    error &with(hc_status status) noexcept {
        if (raw_.status == HC_OK) raw_.status = status;
        return *this;
    }

private:
    hc_error raw_;
};

/* A value, or an error. Look before you take: reading the value of a failed result, or the error
 * of a good one, is undefined, as with std::optional. */
template <class T>
class [[nodiscard]] result {
public:
    result(T value) : value_(std::move(value)) {}
    result(const class error &why) noexcept : error_(why) {}

    explicit operator bool() const noexcept { return value_.has_value(); }
    bool has_value() const noexcept { return value_.has_value(); }
    T &operator*() & noexcept { return *value_; }
    const T &operator*() const & noexcept { return *value_; }
    T &&operator*() && noexcept { return *std::move(value_); }
    T *operator->() noexcept { return &*value_; }
    const T *operator->() const noexcept { return &*value_; }
    const class error &error() const noexcept { return error_; }

private:
    std::optional<T> value_;
    class error error_;
};

/* ---- Inputs ------------------------------------------------------------------------- */

/* Borrowed bytes. */
class bytes {
public:
    constexpr bytes() noexcept = default;
    constexpr bytes(const void *data, std::size_t size) noexcept : data_(data), size_(size) {}
    bytes(const char *text) noexcept : data_(text), size_(std::strlen(text)) {}
    template <class C,
              class E = std::remove_pointer_t<decltype(std::declval<const C &>().data())>,
              class = std::enable_if_t<sizeof(E) == 1 && std::is_trivially_copyable_v<E>>,
              class = decltype(static_cast<std::size_t>(std::declval<const C &>().size()))>
    constexpr bytes(const C &container) noexcept
        : data_(container.data()), size_(container.size()) {}

    constexpr const void *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    std::string_view text() const noexcept { return {static_cast<const char *>(data_), size_}; }
    constexpr hc_slice slice() const noexcept { return hc_slice{data_, size_}; }

private:
    const void *data_ = nullptr;
    std::size_t size_ = 0;
};

/* A time to live: any std::chrono duration (parts of a millisecond round up; nothing or less
 * removes the entry), ttl::keep(), ttl::never(), or by default the store's. */
class ttl {
public:
    constexpr ttl() noexcept : ms_(HC_TTL_DEFAULT) {}
    template <class Rep, class Period>
    constexpr ttl(std::chrono::duration<Rep, Period> left) noexcept : ms_(0) {
        const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        expired_ = ms <= 0;
        ms_ = expired_ ? HC_TTL_DEFAULT : static_cast<std::uint64_t>(ms);
    }
    static constexpr ttl never() noexcept { return ttl(HC_TTL_NEVER, 0); }
    /* What the replaced entry has left. */
    static constexpr ttl keep() noexcept { return ttl(HC_TTL_KEEP, 0); }

    /* As hypercache.h has it; of no meaning if expired(). */
    constexpr std::uint64_t ms() const noexcept { return ms_; }
    constexpr bool expired() const noexcept { return expired_; }

private:
    constexpr ttl(std::uint64_t ms, int) noexcept : ms_(ms) {}

    std::uint64_t ms_;
    bool expired_ = false;
};

/* How an entry is written; see hc_put_options. */
struct put_options {
    ttl time_to_live{};
    std::int32_t mode = HC_PUT_SET;
    std::uint64_t expected_version = 0;
    std::uint64_t session = 0;
    std::uint32_t type = HC_TYPE_BYTES;
    std::uint32_t flags = 0;
    /* When claims have it loaded anew, and how long it lives without an access; 0: the store's. */
    std::chrono::milliseconds soft_time_to_live{0};
    std::chrono::milliseconds idle_time_to_live{0};

    hc_put_options raw() const noexcept {
        hc_put_options options;
        HC_INIT(&options);
        /* Over before it can be read, while the statuses of the mode hold. */
        options.ttl_ms = time_to_live.expired() ? 1 : time_to_live.ms();
        options.mode = mode;
        options.expected_version = expected_version;
        options.session = session;
        options.type = type;
        options.flags = flags;
        const auto soft = soft_time_to_live.count(), idle = idle_time_to_live.count();
        options.soft_ttl_ms = soft > 0 ? static_cast<std::uint64_t>(soft) : 0;
        options.idle_ttl_ms = idle > 0 ? static_cast<std::uint64_t>(idle) : 0;
        return options;
    }
};

/* Which entries a walk visits. What it borrows must outlive the call it is passed to. */
class match {
public:
    static match all() noexcept { return match(HC_MATCH_ALL); }
    static match prefix(bytes start) noexcept { return match(HC_MATCH_PREFIX, start); }
    /* '*' any run, '?' one byte, '\' quotes the next. */
    static match glob(bytes pattern) noexcept { return match(HC_MATCH_GLOB, pattern); }
    static match session(std::uint64_t id) noexcept {
        match m(HC_MATCH_SESSION);
        m.raw_.session = id;
        return m;
    }
    static match type(std::uint32_t type) noexcept {
        match m(HC_MATCH_TYPE);
        m.raw_.type = type;
        return m;
    }

    const hc_match *raw() const noexcept { return &raw_; }

private:
    explicit match(std::int32_t kind, bytes pattern = {}) noexcept {
        HC_INIT(&raw_);
        raw_.kind = kind;
        raw_.pattern = pattern.slice();
    }

    hc_match raw_;
};

/* ---- Views, drafts ------------------------------------------------------------------ */

/* A pinned value: readable, and unchanged, as long as this lives. */
class view {
public:
    view() noexcept : raw_{} {}
    explicit view(const hc_view &pinned) noexcept : raw_(pinned) {}
    view(view &&other) noexcept : raw_(std::exchange(other.raw_, hc_view{})) {}
    view &operator=(view &&other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }
    view(const view &) = delete;
    view &operator=(const view &) = delete;
    ~view() { hc_unpin(&raw_); }

    const void *data() const noexcept { return raw_.data; }
    const std::uint8_t *begin() const noexcept {
        return static_cast<const std::uint8_t *>(raw_.data);
    }
    const std::uint8_t *end() const noexcept { return begin() + raw_.len; }
    std::size_t size() const noexcept { return raw_.len; }
    std::string_view text() const noexcept {
        return {static_cast<const char *>(raw_.data), raw_.len};
    }
    std::uint64_t version() const noexcept { return raw_.version; }
    std::uint32_t type() const noexcept { return raw_.type; }
    std::uint32_t flags() const noexcept { return raw_.flags; }
    std::uint64_t session() const noexcept { return raw_.session; }
    /* What was left to live when it was pinned; none: it does not expire. */
    std::optional<std::chrono::milliseconds> left() const noexcept {
        if (raw_.ttl_ms == HC_TTL_NEVER) return std::nullopt;
        return std::chrono::milliseconds(static_cast<std::int64_t>(raw_.ttl_ms));
    }
    /* Gives it back early. */
    void unpin() noexcept { hc_unpin(&raw_); }

private:
    hc_view raw_;
};

/* Room for a value that nobody sees until commit(); going away abandons it. */
class draft {
public:
    explicit draft(const hc_draft &reserved) noexcept : raw_(reserved) {}
    draft(draft &&other) noexcept : raw_(std::exchange(other.raw_, hc_draft{})) {}
    draft &operator=(draft &&other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }
    draft(const draft &) = delete;
    draft &operator=(const draft &) = delete;
    ~draft() { hc_abandon(&raw_); }

    /* Write all of it before commit(). */
    void *data() noexcept { return raw_.data; }
    std::size_t size() const noexcept { return raw_.len; }
    /* Publishes it and returns the entry's version. The draft has ended, whatever comes back. */
    maybe<std::uint64_t> commit() noexcept {
        std::uint64_t version = 0;
        const hc_status status = hc_commit(&raw_, &version);
        if (status != HC_OK) return outcome(status);
        return version;
    }
    void abandon() noexcept { hc_abandon(&raw_); }

private:
    hc_draft raw_;
};

/* ---- Scans -------------------------------------------------------------------------- */

/* A walk over a store, on one thread at a time:
 *
 *   auto entries = store.scan(hypercache::match::prefix("user:"));
 *   if (entries) for (auto &entry : *entries) use(entry.key, entry.value.text());
 */
class scan {
public:
    struct entry {
        std::string_view key; /* until the next step */
        view value;
    };

    explicit scan(hc_scan *opened) noexcept : raw_(opened) {}
    scan(scan &&other) noexcept
        : raw_(std::exchange(other.raw_, nullptr)), status_(other.status_) {}
    scan &operator=(scan &&other) noexcept {
        std::swap(raw_, other.raw_);
        std::swap(status_, other.status_);
        return *this;
    }
    scan(const scan &) = delete;
    scan &operator=(const scan &) = delete;
    ~scan() { hc_scan_close(raw_); }

    /* The next entry; none at the end (HC_DONE) or when it fails. */
    maybe<entry> next() noexcept {
        hc_slice key;
        hc_view value;
        status_ = hc_scan_next(raw_, &key, &value);
        if (status_ != HC_OK) return outcome(status_);
        return entry{std::string_view(static_cast<const char *>(key.data), key.len), view(value)};
    }
    /* How the last step ended: HC_DONE after a loop that saw everything. */
    outcome status() const noexcept { return status_; }

    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = entry;
        using difference_type = std::ptrdiff_t;
        using pointer = entry *;
        using reference = entry &;

        iterator() noexcept = default;
        explicit iterator(scan &walk) noexcept : walk_(&walk), now_(walk.next()) {}

        entry &operator*() noexcept { return *now_; }
        entry *operator->() noexcept { return &*now_; }
        iterator &operator++() noexcept {
            now_ = walk_->next();
            return *this;
        }
        friend bool operator==(const iterator &a, const iterator &b) noexcept {
            return a.now_.has_value() == b.now_.has_value();
        }
        friend bool operator!=(const iterator &a, const iterator &b) noexcept { return !(a == b); }

    private:
        scan *walk_ = nullptr;
        maybe<entry> now_ = outcome(HC_DONE);
    };
    iterator begin() noexcept { return iterator(*this); }
    iterator end() noexcept { return iterator(); }

private:
    hc_scan *raw_;
    hc_status status_ = HC_OK;
};

/* ---- Stores ------------------------------------------------------------------------- */

/* How a store is made; see hc_store_config, which raw() gives for what is not named here. */
class store_config {
public:
    store_config() noexcept { HC_INIT(&raw_); }
    explicit store_config(const char *name) noexcept : store_config() { raw_.name = name; }

    store_config &limit(std::uint64_t most) noexcept { return raw_.limit_bytes = most, *this; }
    store_config &floor(std::uint64_t least) noexcept { return raw_.floor_bytes = least, *this; }
    store_config &policy(std::int32_t kind, const char *options = nullptr) noexcept {
        raw_.policy = kind;
        raw_.policy_options = options;
        return *this;
    }
    store_config &time_to_live(std::chrono::milliseconds by_default) noexcept {
        const auto ms = by_default.count();
        raw_.default_ttl_ms = ms > 0 ? static_cast<std::uint64_t>(ms) : 0;
        return *this;
    }
    /* Claims have one caller load an entry anew so long after it was put. */
    store_config &soft_time_to_live(std::chrono::milliseconds by_default) noexcept {
        return raw_.soft_ttl_ms = count(by_default), *this;
    }
    /* Entries expire so long after their last access. */
    store_config &idle_time_to_live(std::chrono::milliseconds by_default) noexcept {
        return raw_.idle_ttl_ms = count(by_default), *this;
    }
    /* An old value is kept on for so long after its load failed. */
    store_config &stale_if_error(std::chrono::milliseconds longer) noexcept {
        return raw_.stale_if_error_ms = count(longer), *this;
    }
    /* A holder of a lease that does not come back blocks others for so long; at most a day. */
    store_config &lease_time(std::chrono::milliseconds longest) noexcept {
        return raw_.lease_ms = count(longest), *this;
    }
    store_config &measure_latency() noexcept { return raw_.flags |= HC_STORE_LATENCY, *this; }

    hc_store_config &raw() noexcept { return raw_; }
    const hc_store_config &raw() const noexcept { return raw_; }

private:
    static std::uint64_t count(std::chrono::milliseconds ms) noexcept {
        return ms.count() > 0 ? static_cast<std::uint64_t>(ms.count()) : 0;
    }

    hc_store_config raw_;
};

/* ---- Read-through ------------------------------------------------------------------- */

/* The right and the task to load a key. One that goes without a put is dropped: cancelled, unless
 * fail_with() or absent() said otherwise. The store must outlive it. */
class lease {
public:
    lease(hc_store *store, const hc_lease &granted) noexcept : store_(store), raw_(granted) {}
    lease(lease &&other) noexcept
        : store_(other.store_), raw_(std::exchange(other.raw_, hc_lease{})),
          reason_(other.reason_), retry_ms_(other.retry_ms_) {}
    lease &operator=(lease &&other) noexcept {
        if (this != &other) {
            drop();
            store_ = other.store_;
            raw_ = std::exchange(other.raw_, hc_lease{});
            reason_ = other.reason_;
            retry_ms_ = other.retry_ms_;
        }
        return *this;
    }
    ~lease() { drop(); }

    /* Stores the value and ends the lease. HC_CONFLICT: the key was written or invalidated since. */
    outcome put(bytes value, const hc_put_options *options = nullptr) noexcept {
        return hc_lease_put(store_, &raw_, value.data(), value.size(), options, nullptr);
    }
    /* What it is dropped as when it goes: a load that failed, ... */
    void fail_with(std::chrono::milliseconds retry) noexcept {
        reason_ = HC_DROP_FAILED;
        retry_ms_ = retry.count() > 0 ? static_cast<std::uint64_t>(retry.count()) : 0;
    }
    /* ... or a key that the source does not have. */
    void absent(std::chrono::milliseconds known = std::chrono::milliseconds(0)) noexcept {
        reason_ = HC_DROP_ABSENT;
        retry_ms_ = known.count() > 0 ? static_cast<std::uint64_t>(known.count()) : 0;
    }
    hc_lease raw() const noexcept { return raw_; }

private:
    void drop() noexcept {
        if (raw_.generation != 0) hc_lease_drop(store_, &raw_, reason_, retry_ms_);
    }

    hc_store *store_;
    hc_lease raw_;
    std::int32_t reason_ = HC_DROP_CANCELLED;
    std::uint64_t retry_ms_ = 0;
};

/* How get_or_load reads through. */
struct load_options {
    /* How long to wait for another's load; for as long as it takes, unless it is set. */
    std::optional<std::chrono::milliseconds> timeout;
    /* While another caller reloads, take the old value. */
    bool stale = false;
    /* How a loaded value is stored; the mode is HC_PUT_SET. */
    put_options put{};
    /* For how long others are told of a load that failed, instead of trying again. */
    std::chrono::milliseconds retry{0};
    /* For how long it is known that the source has no such key; 0: the store's. */
    std::chrono::milliseconds absent{0};
};

class filter;

/* Entries in a pool. A copy is another reference to the same store. */
class store {
public:
    /* Takes over one reference. */
    explicit store(hc_store *owned) noexcept : raw_(owned) {}
    store(const store &other) noexcept : raw_(hc_store_retain(other.raw_)) {}
    store(store &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
    store &operator=(store other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }
    ~store() { hc_store_release(raw_); }

    hc_store *raw() const noexcept { return raw_; }

    /* -- reading -- */

    /* A copy of the value. */
    maybe<std::string> get(bytes key) const {
        return copied(key, [this, key](void *buf, std::size_t cap, std::size_t *len) {
            return hc_get(raw_, key.data(), key.size(), buf, cap, len);
        });
    }
    /* Copies into memory of the caller's. HC_SMALL_BUFFER: len is what it takes. */
    outcome get_into(bytes key, void *buf, std::size_t cap, std::size_t &len) const noexcept {
        return hc_get(raw_, key.data(), key.size(), buf, cap, &len);
    }
    /* The value where it is. With HC_PEEK it counts no hit. */
    maybe<view> pin(bytes key, std::uint32_t flags = 0) const noexcept {
        hc_view pinned;
        const hc_status status = hc_pin(raw_, key.data(), key.size(), flags, &pinned);
        if (status != HC_OK) return outcome(status);
        return view(pinned);
    }
    bool contains(bytes key) const noexcept {
        return hc_contains(raw_, key.data(), key.size()) == HC_OK;
    }
    /* False: certainly neither here nor in the source whose keys known_keys() gave. */
    bool may_exist(bytes key) const noexcept {
        return hc_may_exist(raw_, key.data(), key.size()) != HC_NOT_FOUND;
    }
    /* Reads and removes in one step: of several callers one gets the value. */
    maybe<std::string> take(bytes key) {
        return copied(key, [this, key](void *buf, std::size_t cap, std::size_t *len) {
            hc_info info;
            const hc_status status = hc_take(raw_, key.data(), key.size(), buf, cap, &info);
            if (status == HC_OK || status == HC_SMALL_BUFFER) *len = info.len;
            return status;
        });
    }
    /* A view, or the lease of the key, or neither (the maybe says why). */
    maybe<std::variant<view, lease>> claim(bytes key, std::uint64_t timeout_ms = 0,
                                           std::uint32_t flags = 0) noexcept {
        hc_view pinned;
        hc_lease granted;
        const hc_status status =
            hc_claim(raw_, key.data(), key.size(), flags, timeout_ms, &pinned, &granted);
        using either = std::variant<view, lease>;
        if (status == HC_OK) return either(std::in_place_index<0>, pinned);
        if (status == HC_CLAIMED) return either(std::in_place_index<1>, raw_, granted);
        return outcome(status);
    }
    /* The value of a key; where there is none, of all who ask for it one calls load(), and the
     * others wait for that. load returns something that bytes takes, or a std::optional of it:
     * std::nullopt, here HC_NOT_FOUND, is a key that the source does not have. What load throws
     * passes through, and those who wait get HC_LOAD_FAILED. Who has waited for as long as the
     * options allow loads for itself and stores nothing. */
    template <class Load>
    maybe<std::string> get_or_load(bytes key, Load &&load, const load_options &options = {}) {
        const std::uint64_t timeout_ms =
            !options.timeout ? UINT64_MAX
            : options.timeout->count() > 0
                ? static_cast<std::uint64_t>(options.timeout->count())
                : 0;
        auto claimed = claim(key, timeout_ms, options.stale ? HC_CLAIM_STALE : 0);
        if (!claimed) {
            if (claimed.status() != HC_TIMEOUT && claimed.status() != HC_NOT_ADMITTED) {
                return outcome(claimed.status());
            }
            return loaded(std::forward<Load>(load)());
        }
        if (const auto *found = std::get_if<0>(&*claimed)) {
            return std::string(static_cast<const char *>(found->data()), found->size());
        }
        lease &held = std::get<1>(*claimed);
        /* Should load throw. */
        held.fail_with(options.retry);
        maybe<std::string> value = loaded(std::forward<Load>(load)());
        if (!value) {
            held.absent(options.absent);
            return value;
        }
        hc_put_options put = options.put.raw();
        put.mode = HC_PUT_SET;
        /* Whatever the store makes of it, the value is there. */
        static_cast<void>(held.put(*value, &put));
        return value;
    }
    /* Restarts the time to live. */
    outcome touch(bytes key, ttl left) noexcept {
        if (left.expired()) return erase(key);
        return hc_touch(raw_, key.data(), key.size(), left.ms());
    }
    /* Pins many keys at once; `keys` is any range of things that bytes takes. */
    template <class Keys>
    std::vector<maybe<view>> pin_many(const Keys &keys, std::uint32_t flags = 0) const {
        std::vector<hc_slice> slices;
        for (const auto &key : keys) slices.push_back(bytes(key).slice());
        std::vector<hc_view> views(slices.size());
        std::vector<hc_status> statuses(slices.size(), HC_ERR_INVALID);
        std::vector<maybe<view>> out;
        out.reserve(slices.size());
        const hc_status all = hc_pin_many(raw_, slices.data(), slices.size(), flags, views.data(),
                                          statuses.data());
        for (std::size_t i = 0; i < slices.size(); i++) {
            if (all >= 0 && statuses[i] == HC_OK) out.emplace_back(view(views[i]));
            else out.emplace_back(outcome(all < 0 ? all : statuses[i]));
        }
        return out;
    }
    /* Copies of many values at once. */
    template <class Keys>
    std::vector<maybe<std::string>> get_many(const Keys &keys) const {
        std::vector<maybe<std::string>> out;
        for (const auto &pinned : pin_many(keys)) {
            if (pinned) out.emplace_back(std::string(pinned->text()));
            else out.emplace_back(outcome(pinned.status()));
        }
        return out;
    }

    /* -- writing -- */

    outcome set(bytes key, bytes value, ttl left = {}) noexcept {
        if (left.expired()) return removed(key);
        return hc_set(raw_, key.data(), key.size(), value.data(), value.size(), left.ms());
    }
    /* set with everything; returns the entry's version. */
    maybe<std::uint64_t> put(bytes key, bytes value, const put_options &how = {}) noexcept {
        const hc_put_options options = how.raw();
        std::uint64_t version = 0;
        const hc_status status = hc_put(raw_, key.data(), key.size(), value.data(), value.size(),
                                        &options, &version);
        if (status != HC_OK) return outcome(status);
        return version;
    }
    /* Only if absent; else HC_EXISTS. */
    outcome add(bytes key, bytes value, ttl left = {}) noexcept {
        put_options how;
        how.time_to_live = left;
        how.mode = HC_PUT_ADD;
        return put(key, value, how).status();
    }
    /* Only if present; else HC_NOT_FOUND. */
    outcome replace(bytes key, bytes value, ttl left = {}) noexcept {
        put_options how;
        how.time_to_live = left;
        how.mode = HC_PUT_REPLACE;
        return put(key, value, how).status();
    }
    /* Only if nobody has written since `version`; HC_CONFLICT: read again. */
    maybe<std::uint64_t> compare_and_set(bytes key, bytes value, std::uint64_t version,
                                         ttl left = ttl::keep()) noexcept {
        put_options how;
        how.time_to_live = left;
        how.mode = HC_PUT_CAS;
        how.expected_version = version;
        return put(key, value, how);
    }
    maybe<std::int64_t> incr(bytes key, std::int64_t delta = 1, std::int64_t initial = 0,
                             ttl left = {}) noexcept {
        std::int64_t sum = 0;
        const hc_status status =
            hc_incr(raw_, key.data(), key.size(), delta, initial, left.expired() ? 1 : left.ms(), &sum);
        if (status != HC_OK) return outcome(status);
        return sum;
    }
    /* Each entry on its own; statuses, if wanted, has room for n. */
    outcome put_many(const hc_entry *entries, std::size_t n, const put_options &how = {},
                     hc_status *statuses = nullptr) noexcept {
        const hc_put_options options = how.raw();
        return hc_put_many(raw_, entries, n, &options, statuses);
    }
    outcome erase(bytes key) noexcept { return hc_delete(raw_, key.data(), key.size()); }
    outcome erase_if(bytes key, std::uint64_t version) noexcept {
        return hc_delete_if(raw_, key.data(), key.size(), version);
    }
    /* Room for a value that is written in place. */
    maybe<draft> reserve(bytes key, std::size_t len, const put_options &how = {}) noexcept {
        const hc_put_options options = how.raw();
        hc_draft room;
        const hc_status status = hc_reserve(raw_, key.data(), key.size(), len, &options, &room);
        if (status != HC_OK) return outcome(status);
        return draft(room);
    }

    /* -- the whole store -- */

    /* Removes what matches; returns how many entries. */
    maybe<std::uint64_t> invalidate(const match &which) noexcept {
        std::uint64_t removed = 0;
        const hc_status status = hc_invalidate(raw_, which.raw(), &removed);
        if (status != HC_OK) return outcome(status);
        return removed;
    }
    outcome clear() noexcept { return hc_clear(raw_); }
    maybe<class scan> scan(const match &which = match::all()) const noexcept {
        hc_scan *opened = nullptr;
        const hc_status status = hc_scan_open(raw_, which.raw(), &opened);
        if (status != HC_OK) return outcome(status);
        return hypercache::scan(opened);
    }
    hc_store_stats stats() const noexcept {
        hc_store_stats stats;
        HC_INIT(&stats);
        if (hc_store_stats_get(raw_, &stats) != HC_OK) HC_INIT(&stats);
        return stats;
    }
    /* Latencies of HC_OP_GET, _SET or _DELETE; none if they are not measured. */
    maybe<hc_latency> latency(std::int32_t op) const noexcept {
        hc_latency latency;
        HC_INIT(&latency);
        const hc_status status = hc_store_latency_get(raw_, op, &latency);
        if (status != HC_OK) return outcome(status);
        return latency;
    }
    hc_store_config config() const noexcept {
        hc_store_config config;
        HC_INIT(&config);
        if (hc_store_config_get(raw_, &config) != HC_OK) HC_INIT(&config);
        return config;
    }
    outcome set_limit(std::uint64_t limit_bytes) noexcept {
        return hc_store_set_limit(raw_, limit_bytes);
    }
    result<std::monostate> validate() const noexcept;
    /* Drops all entries and ends the store for everybody. */
    void destroy() noexcept { hc_store_destroy(raw_); }
    /* The keys of the backing source; see hc_store_set_known_keys. */
    outcome known_keys(const filter &keys) noexcept;
    outcome forget_known_keys() noexcept { return hc_store_set_known_keys(raw_, nullptr); }

private:
    static std::string loaded_text(bytes value) {
        return std::string(static_cast<const char *>(value.data()), value.size());
    }
    static maybe<std::string> loaded(std::string value) { return value; }
    template <class T>
    static maybe<std::string> loaded(const T &value) {
        return loaded_text(bytes(value));
    }
    template <class T>
    static maybe<std::string> loaded(std::optional<T> value) {
        if (!value) return outcome(HC_NOT_FOUND);
        return loaded(std::move(*value));
    }

    template <class Read>
    static maybe<std::string> copied(bytes, Read read) {
        char near[512];
        std::size_t len = 0;
        hc_status status = read(near, sizeof near, &len);
        if (status == HC_OK) return std::string(near, len);
        std::string far;
        /* It may have grown by the time there is room for it. */
        while (status == HC_SMALL_BUFFER) {
            far.resize(len);
            status = read(far.data(), far.size(), &len);
        }
        if (status != HC_OK) return outcome(status);
        far.resize(len);
        return far;
    }
    outcome removed(bytes key) noexcept {
        const hc_status status = hc_delete(raw_, key.data(), key.size());
        return status == HC_NOT_FOUND ? HC_OK : status;
    }

    hc_store *raw_;
};

/* ---- Pools -------------------------------------------------------------------------- */

/* A registered callback; going away cancels it. */
class watch {
public:
    watch() noexcept = default;
    explicit watch(hc_watch *registered) noexcept : raw_(registered) {}
    watch(watch &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
    watch &operator=(watch &&other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }
    watch(const watch &) = delete;
    watch &operator=(const watch &) = delete;
    ~watch() { cancel(); }

    /* Returns when no call is running. Not while holding a lock that the callback takes. */
    void cancel() noexcept { hc_watch_cancel(std::exchange(raw_, nullptr)); }

private:
    hc_watch *raw_ = nullptr;
};

/* How a pool is made; see hc_pool_config. */
class pool_config {
public:
    explicit pool_config(std::uint64_t limit_bytes) noexcept {
        HC_INIT(&raw_);
        raw_.limit_bytes = limit_bytes;
    }

    pool_config &limit_max(std::uint64_t most) noexcept {
        return raw_.limit_max_bytes = most, *this;
    }
    pool_config &pin_limit(std::uint64_t most) noexcept {
        return raw_.pin_limit_bytes = most, *this;
    }
    pool_config &thresholds(std::uint32_t elevated, std::uint32_t high,
                            std::uint32_t critical) noexcept {
        raw_.elevated_pct = elevated;
        raw_.high_pct = high;
        raw_.critical_pct = critical;
        return *this;
    }
    pool_config &flags(std::uint32_t bits) noexcept { return raw_.flags |= bits, *this; }

    hc_pool_config &raw() noexcept { return raw_; }
    const hc_pool_config &raw() const noexcept { return raw_; }

private:
    hc_pool_config raw_;
};

/* What a callback is told. */
struct pressure_event {
    std::int32_t level; /* HC_PRESSURE_*: compare with < */
    std::uint64_t used_bytes;
    std::uint64_t limit_bytes;
};

/* A byte budget. A copy is another reference to the same pool. */
class pool {
public:
    /* Takes over one reference. */
    explicit pool(hc_pool *owned) noexcept : raw_(owned) {}
    pool(const pool &other) noexcept : raw_(hc_pool_retain(other.raw_)) {}
    pool(pool &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
    pool &operator=(pool other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }
    ~pool() { hc_pool_release(raw_); }

    static result<pool> create(const pool_config &config) noexcept {
        error why;
        hc_pool *made = nullptr;
        const hc_status status = hc_pool_create(&config.raw(), &made, why.raw());
        if (status != HC_OK) return why.with(status);
        return pool(made);
    }
    static result<pool> create(std::uint64_t limit_bytes) noexcept {
        return create(pool_config(limit_bytes));
    }
    /* The pool of this name in this process; made if there is none. */
    static result<pool> open(const char *name, const pool_config &config) noexcept {
        return open(name, &config.raw());
    }
    /* The pool of this name, or HC_NOT_FOUND. */
    static result<pool> find(const char *name) noexcept { return open(name, nullptr); }

    hc_pool *raw() const noexcept { return raw_; }

    /* Opens a store, by name the one that is open under it. */
    result<store> open_store(const store_config &config = {}) const noexcept {
        error why;
        hc_store *opened = nullptr;
        const hc_status status = hc_store_open(raw_, &config.raw(), &opened, why.raw());
        if (status != HC_OK) return why.with(status);
        return store(opened);
    }
    maybe<store> find_store(const char *name) const noexcept {
        hc_store *found = nullptr;
        const hc_status status = hc_store_find(raw_, name, &found);
        if (status != HC_OK) return outcome(status);
        return store(found);
    }

    result<std::monostate> set_limit(std::uint64_t limit_bytes) noexcept;
    outcome set_thresholds(std::uint32_t elevated, std::uint32_t high,
                           std::uint32_t critical) noexcept {
        return hc_pool_set_thresholds(raw_, elevated, high, critical);
    }
    /* One load. */
    std::int32_t pressure() const noexcept { return hc_pool_pressure(raw_); }
    /* Waits for a change of level since `seq`, which it moves on; none after the time. */
    maybe<std::int32_t> wait(std::uint64_t &seq, std::chrono::milliseconds most) noexcept {
        std::int32_t level = HC_PRESSURE_NONE;
        const auto ms = most.count() > 0 ? static_cast<std::uint64_t>(most.count()) : 0;
        const hc_status status = hc_pool_wait(raw_, &seq, ms, &level);
        if (status != HC_OK) return outcome(status);
        return level;
    }
    /* Calls `callback` on the library's thread at each change of level. It must not throw. */
    maybe<class watch> watch(std::function<void(const pressure_event &)> callback) {
        using function = std::function<void(const pressure_event &)>;
        auto held = std::make_unique<function>(std::move(callback));
        hc_watch *registered = nullptr;
        /* The library drops ctx whatever it answers. */
        const hc_status status = hc_pool_watch(
            raw_,
            [](void *ctx, std::int32_t level, std::uint64_t used, std::uint64_t limit) {
                (*static_cast<function *>(ctx))(pressure_event{level, used, limit});
            },
            held.release(), [](void *ctx) { delete static_cast<function *>(ctx); }, &registered);
        if (status != HC_OK) return outcome(status);
        return hypercache::watch(registered);
    }
    /* Evicts until at most so many bytes are used; returns the bytes freed. */
    maybe<std::uint64_t> trim(std::uint64_t target_bytes) noexcept {
        std::uint64_t freed = 0;
        const hc_status status = hc_pool_trim(raw_, target_bytes, &freed);
        if (status != HC_OK) return outcome(status);
        return freed;
    }

    /* Raw memory under the limit; nullptr if there is none. Give it back with free(). */
    void *alloc(std::size_t len, std::size_t align = 0, std::uint32_t flags = 0) noexcept {
        return hc_pool_alloc(raw_, len, align, flags);
    }
    outcome free(void *block) noexcept { return hc_pool_free(raw_, block); }

    hc_pool_stats stats() const noexcept {
        hc_pool_stats stats;
        HC_INIT(&stats);
        if (hc_pool_stats_get(raw_, &stats) != HC_OK) HC_INIT(&stats);
        return stats;
    }
    hc_pool_config config() const noexcept {
        hc_pool_config config;
        HC_INIT(&config);
        if (hc_pool_config_get(raw_, &config) != HC_OK) HC_INIT(&config);
        return config;
    }
    result<std::monostate> validate() const noexcept;

private:
    static result<pool> open(const char *name, const hc_pool_config *config) noexcept {
        error why;
        hc_pool *opened = nullptr;
        const hc_status status = hc_pool_open(name, config, &opened, why.raw());
        if (status != HC_OK) return why.with(status);
        return pool(opened);
    }

    hc_pool *raw_;
};

inline result<std::monostate> store::validate() const noexcept {
    error why;
    const hc_status status = hc_store_validate(raw_, why.raw());
    if (status != HC_OK) return why.with(status);
    return std::monostate{};
}

inline result<std::monostate> pool::validate() const noexcept {
    error why;
    const hc_status status = hc_pool_validate(raw_, why.raw());
    if (status != HC_OK) return why.with(status);
    return std::monostate{};
}

/* HC_PARTIAL and HC_CONFLICT come back as errors without a sentence: look at code(). */
inline result<std::monostate> pool::set_limit(std::uint64_t limit_bytes) noexcept {
    error why;
    const hc_status status = hc_pool_set_limit(raw_, limit_bytes, why.raw());
    if (status != HC_OK) return why.with(status);
    return std::monostate{};
}

/* ---- Cuckoo filter ------------------------------------------------------------------ */

/* How a filter is made; see hc_filter_config, which raw() gives for what is not named here. */
class filter_config {
public:
    /* For so many adds. */
    explicit filter_config(std::uint64_t capacity = 0) noexcept {
        HC_INIT(&raw_);
        raw_.capacity = capacity;
    }

    filter_config &false_positives(double share) noexcept { return raw_.fpr = share, *this; }
    /* Charge it to this pool, which must live until the filter is made. */
    filter_config &in(const pool &where) noexcept { return raw_.pool = where.raw(), *this; }
    filter_config &hash_seed(std::uint64_t seed) noexcept { return raw_.hash_seed = seed, *this; }

    hc_filter_config &raw() noexcept { return raw_; }
    const hc_filter_config &raw() const noexcept { return raw_; }

private:
    hc_filter_config raw_;
};

/* What a set certainly does not contain. A copy is another reference to the same filter. */
class filter {
public:
    /* Takes over one reference. */
    explicit filter(hc_filter *owned) noexcept : raw_(owned) {}
    filter(const filter &other) noexcept : raw_(hc_filter_retain(other.raw_)) {}
    filter(filter &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
    filter &operator=(filter other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }
    ~filter() { hc_filter_release(raw_); }

    static result<filter> create(const filter_config &config) noexcept {
        error why;
        hc_filter *made = nullptr;
        const hc_status status = hc_filter_create(&config.raw(), &made, why.raw());
        if (status != HC_OK) return why.with(status);
        return filter(made);
    }
    static result<filter> create(std::uint64_t capacity) noexcept {
        return create(filter_config(capacity));
    }
    /* Reads what save() wrote. What the config sets must be the file's; its pool is used. */
    static result<filter> load(const char *path, const filter_config &config = filter_config{}) noexcept {
        error why;
        hc_filter *loaded = nullptr;
        const hc_status status = hc_filter_load(path, &config.raw(), &loaded, why.raw());
        if (status != HC_OK) return why.with(status);
        return filter(loaded);
    }

    hc_filter *raw() const noexcept { return raw_; }

    /* A failure leaves it saturated: it then says "maybe" to all until clear(). */
    outcome add(bytes key) noexcept { return hc_filter_add(raw_, key.data(), key.size()); }
    /* False: the key was certainly not added. A call that fails says true. */
    bool may_contain(bytes key) const noexcept {
        return hc_filter_contains(raw_, key.data(), key.size()) != HC_NOT_FOUND;
    }
    /* HC_OK: maybe; HC_NOT_FOUND: certainly not; or why it failed. */
    outcome contains(bytes key) const noexcept {
        return hc_filter_contains(raw_, key.data(), key.size());
    }
    /* A status a key, in `statuses`, which has room for n. */
    outcome contains_many(const hc_slice *keys, std::size_t n, hc_status *statuses) const noexcept {
        return hc_filter_contains_many(raw_, keys, n, statuses);
    }
    /* Only what was added; HC_NOT_FOUND if no trace of it is there. */
    outcome remove(bytes key) noexcept { return hc_filter_remove(raw_, key.data(), key.size()); }
    outcome clear() noexcept { return hc_filter_clear(raw_); }

    hc_filter_stats stats() const noexcept {
        hc_filter_stats stats;
        HC_INIT(&stats);
        if (hc_filter_stats_get(raw_, &stats) != HC_OK) HC_INIT(&stats);
        return stats;
    }
    result<std::monostate> save(const char *path) const noexcept {
        error why;
        const hc_status status = hc_filter_save(raw_, path, why.raw());
        if (status != HC_OK) return why.with(status);
        return std::monostate{};
    }
    result<std::monostate> validate() const noexcept {
        error why;
        const hc_status status = hc_filter_validate(raw_, why.raw());
        if (status != HC_OK) return why.with(status);
        return std::monostate{};
    }

private:
    hc_filter *raw_;
};

inline outcome store::known_keys(const filter &keys) noexcept {
    return hc_store_set_known_keys(raw_, keys.raw());
}

/* ---- The process -------------------------------------------------------------------- */

/* All pools and stores in Prometheus text format. */
inline std::string metrics_text() {
    std::string text;
    std::size_t len = 0;
    while (hc_metrics_text(text.data(), text.size(), &len) == HC_SMALL_BUFFER) {
        text.resize(len + len / 8);
    }
    text.resize(len);
    return text;
}

} // namespace hypercache

#endif /* HYPERCACHE_HPP */
