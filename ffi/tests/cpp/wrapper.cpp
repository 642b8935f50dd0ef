// The C++ header: what it adds to the C one.
#include <hypercache.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            std::exit(1);                                                            \
        }                                                                            \
    } while (0)

static_assert(!std::is_copy_constructible_v<hypercache::view>);
static_assert(!std::is_copy_constructible_v<hypercache::draft>);
static_assert(!std::is_copy_constructible_v<hypercache::scan>);
static_assert(!std::is_copy_constructible_v<hypercache::watch>);
static_assert(std::is_nothrow_move_constructible_v<hypercache::view>);
static_assert(std::is_copy_constructible_v<hypercache::store>);
static_assert(std::is_convertible_v<std::string, hypercache::bytes>);
static_assert(std::is_convertible_v<std::string_view, hypercache::bytes>);
static_assert(std::is_convertible_v<std::vector<unsigned char>, hypercache::bytes>);
static_assert(std::is_convertible_v<std::array<std::byte, 3>, hypercache::bytes>);
static_assert(!std::is_convertible_v<std::vector<int>, hypercache::bytes>);
static_assert(!std::is_convertible_v<int, hypercache::bytes>);

static void answers(hypercache::pool &pool) {
    auto bad = hypercache::pool::create(1);
    CHECK(!bad && bad.error().code() == HC_ERR_INVALID);
    CHECK(std::string(bad.error().message()).find("limit_bytes") != std::string::npos);
    CHECK(std::string(bad.error().name()) == "HC_ERR_INVALID");
    auto absent = hypercache::pool::find("nobody's");
    CHECK(!absent && absent.error().code() == HC_NOT_FOUND);
    auto none = pool.find_store("none");
    CHECK(!none && none.status() == HC_NOT_FOUND && !none.failed());
    hypercache::outcome ok = HC_OK, miss = HC_NOT_FOUND, failure = HC_ERR_CLOSED;
    CHECK(ok && !miss && !failure && !miss.failed() && failure.failed());
    CHECK(miss == HC_NOT_FOUND && std::string(failure.name()) == "HC_ERR_CLOSED");
    CHECK(pool.validate());
}

static void reading_and_writing(hypercache::store store) {
    CHECK(!store.get("k"));
    CHECK(store.get("k").status() == HC_NOT_FOUND);
    CHECK(store.set("k", "value"));
    CHECK(store.get("k") == "value");
    CHECK(store.contains("k") && !store.contains("x"));
    const std::string large(100'000, 'x');
    CHECK(store.set(std::string("large"), large));
    CHECK(store.get("large") == large); // more than fits on the stack
    CHECK(store.set("empty", ""));
    CHECK(store.get("empty") == "");
    const std::vector<std::uint8_t> raw{0, 1, 2, 0, 255};
    CHECK(store.set(raw, raw));
    CHECK(store.get(raw)->size() == 5);
    char buf[3];
    std::size_t len = 0;
    CHECK(store.get_into("k", buf, sizeof buf, len) == HC_SMALL_BUFFER && len == 5);

    auto view = store.pin("k");
    CHECK(view && view->text() == "value" && view->size() == 5 && !view->left());
    CHECK(std::string(view->begin(), view->end()) == "value");
    hypercache::view moved = std::move(*view);
    CHECK(view->data() == nullptr && moved.text() == "value");
    moved.unpin();
    CHECK(moved.data() == nullptr);

    CHECK(store.add("k", "no") == HC_EXISTS);
    CHECK(store.add("new", "yes") && store.replace("new", "no"));
    CHECK(store.replace("newer", "x") == HC_NOT_FOUND);
    auto version = store.put("k", "v2");
    CHECK(version && store.compare_and_set("k", "v3", *version));
    CHECK(store.compare_and_set("k", "v4", *version).status() == HC_CONFLICT);
    CHECK(store.erase_if("k", *version) == HC_CONFLICT);
    CHECK(store.take("k") == "v3" && !store.take("k"));
    CHECK(store.take("large") == large && !store.contains("large"));
    CHECK(store.incr("n", 1, 5) == 5 && store.incr("n", 2) == 7);
    CHECK(store.incr("n", INT64_MAX).status() == HC_OVERFLOW);
    CHECK(store.erase("n") && store.erase("n") == HC_NOT_FOUND);
}

static void times(hypercache::store store) {
    CHECK(hypercache::ttl(1500us).ms() == 2); // parts of a millisecond round up
    CHECK(hypercache::ttl(2h).ms() == 7'200'000);
    CHECK(hypercache::ttl(0ms).expired() && hypercache::ttl(-1s).expired());
    CHECK(!hypercache::ttl().expired() && !hypercache::ttl::never().expired());
    CHECK(store.set("brief", "x", 20ms));
    std::this_thread::sleep_for(40ms);
    CHECK(!store.contains("brief"));
    CHECK(store.set("k", "x") && store.set("k", "y", 0s) && !store.contains("k"));
    CHECK(store.set("k", "x", 1min));
    const auto left = store.pin("k")->left();
    CHECK(left && *left > 30s && *left <= 1min);
    CHECK(store.touch("k", hypercache::ttl::never()) && !store.pin("k")->left());
    CHECK(store.touch("k", 0ms) && !store.contains("k"));
}

static void drafts(hypercache::store store) {
    {
        auto draft = store.reserve("k", 5);
        CHECK(draft && draft->size() == 5);
        std::memcpy(draft->data(), "draft", 5);
    } // abandoned
    CHECK(!store.contains("k"));
    auto draft = store.reserve("k", 5);
    std::memcpy(draft->data(), "draft", 5);
    hypercache::draft moved = std::move(*draft);
    CHECK(moved.commit() && store.get("k") == "draft");
    CHECK(moved.commit().status() == HC_ERR_INVALID);
}

static void many(hypercache::store store) {
    std::vector<std::string> keys;
    std::vector<hc_entry> entries(100);
    for (int i = 0; i < 100; i++) keys.push_back("many:" + std::to_string(i));
    for (std::size_t i = 0; i < keys.size(); i++) {
        entries[i].key = entries[i].value = hypercache::bytes(keys[i]).slice();
    }
    CHECK(store.put_many(entries.data(), entries.size()));
    keys.push_back("absent");
    const auto values = store.get_many(keys);
    CHECK(values.size() == 101 && values[100].status() == HC_NOT_FOUND);
    for (std::size_t i = 0; i < 100; i++) CHECK(values[i] == keys[i]);
    auto walk = store.scan(hypercache::match::prefix("many:"));
    int seen = 0;
    for (auto &entry : *walk) {
        CHECK(entry.key == entry.value.text());
        seen++;
    }
    CHECK(seen == 100 && walk->status() == HC_DONE);
    CHECK(store.invalidate(hypercache::match::glob("many:?")) == 10u);
    CHECK(store.invalidate(hypercache::match::all()));
    CHECK(!store.scan()->next());
    CHECK(store.stats().entries == 0 && store.clear());
}

static void references(hypercache::pool &pool) {
    auto first = pool.open_store(hypercache::store_config("shared").policy(HC_POLICY_LRU));
    CHECK(first);
    hypercache::store copy = *first;
    auto found = pool.find_store("shared");
    CHECK(found && found->raw() == copy.raw());
    CHECK(copy.config().policy == HC_POLICY_LRU);
    CHECK(copy.set("k", "v"));
    CHECK(copy.latency(HC_OP_GET).status() == HC_NOT_FOUND);
    {
        hypercache::store other = std::move(copy);
        copy = other; // assigned to what was moved from
    }
    CHECK(found->get("k") == "v");
    found->destroy();
    CHECK(copy.get("k").status() == HC_ERR_CLOSED && copy.get("k").failed());
}

static void known_keys(hypercache::pool &pool) {
    auto store = pool.open_store();
    auto keys = hypercache::filter::create(hypercache::filter_config(100).in(pool));
    CHECK(store && keys && store->may_exist("user:7"));
    CHECK(keys->add("user:7") && store->known_keys(*keys));
    CHECK(store->may_exist("user:7") && !store->may_exist("user:8"));
    CHECK(store->set("user:8", "v") && store->may_exist("user:8"));
    CHECK(store->forget_known_keys() && store->may_exist("user:9"));
    store->destroy();
    CHECK(store->known_keys(*keys) == HC_ERR_CLOSED);
}

static void filters(hypercache::pool &pool) {
    auto made = hypercache::filter::create(
        hypercache::filter_config(1000).false_positives(0.01).in(pool).hash_seed(3));
    CHECK(made);
    hypercache::filter filter = *made; // the same one
    CHECK(filter.raw() == made->raw());
    CHECK(!filter.may_contain("user:7") && filter.contains("user:7") == HC_NOT_FOUND);
    CHECK(filter.add("user:7") && made->may_contain(std::string("user:7")));
    const hc_slice keys[] = {hypercache::bytes("user:7").slice(), hypercache::bytes("other").slice()};
    hc_status statuses[2] = {};
    CHECK(filter.contains_many(keys, 2, statuses) == HC_PARTIAL);
    CHECK(statuses[0] == HC_OK && statuses[1] == HC_NOT_FOUND);
    const std::string path = "/tmp/hypercache-wrapper-" + std::to_string(std::random_device{}());
    CHECK(filter.save(path.c_str()));
    CHECK(filter.remove("user:7") && !filter.may_contain("user:7"));
    CHECK(filter.remove("user:7") == HC_NOT_FOUND);
    {
        auto loaded = hypercache::filter::load(path.c_str());
        CHECK(loaded && loaded->may_contain("user:7") && loaded->stats().keys == 1);
        filter = std::move(*loaded);
        CHECK(filter.may_contain("user:7") && filter.clear() && !filter.may_contain("user:7"));
    }
    std::remove(path.c_str());
    auto lost = hypercache::filter::load(path.c_str());
    CHECK(!lost && lost.error().code() == HC_ERR_IO && lost.error().os_error() != 0);
    auto refused = hypercache::filter::create(hypercache::filter_config(10).false_positives(1));
    CHECK(!refused && refused.error().code() == HC_ERR_INVALID);
    CHECK(filter.validate() && made->validate() && made->stats().adds == 1);
}

static void pressure() {
    auto pool = hypercache::pool::create(hypercache::pool_config(4 << 20).thresholds(50, 60, 70));
    auto told = std::make_shared<std::atomic<int>>(0);
    {
        auto watch = pool->watch([told](const hypercache::pressure_event &event) {
            if (event.level > HC_PRESSURE_NONE) (*told)++;
        });
        CHECK(watch && told.use_count() == 2);
        void *block = pool->alloc(3 << 20);
        CHECK(block != nullptr && pool->pressure() == HC_PRESSURE_CRITICAL);
        std::uint64_t seq = 0;
        CHECK(pool->wait(seq, 1s) == HC_PRESSURE_CRITICAL);
        CHECK(!pool->wait(seq, 0ms));
        for (int i = 0; i < 5000 && *told == 0; i++) std::this_thread::sleep_for(1ms);
        CHECK(pool->free(block) && pool->free(block) == HC_ERR_INVALID);
    }
    CHECK(*told > 0 && told.use_count() == 1); // the callback is gone with its watch
    CHECK(pool->set_limit(2 << 20) && pool->stats().limit_bytes == 2 << 20);
    CHECK(pool->set_limit(1).error().code() == HC_ERR_INVALID);
    CHECK(pool->config().critical_pct == 70);
    CHECK(hypercache::metrics_text().find("# TYPE") != std::string::npos);
}

static void reading_through(hypercache::store &store) {
    using namespace std::chrono_literals;
    int loads = 0;
    auto load = [&loads] { return "loaded " + std::to_string(++loads); };
    CHECK(*store.get_or_load("r", load) == "loaded 1" && *store.get_or_load("r", load) == "loaded 1");
    // Anything that is bytes will do, and nothing for what the source does not have.
    CHECK(*store.get_or_load("s", [] { return std::vector<std::uint8_t>{'a', 'b'}; }) == "ab");
    CHECK(*store.get_or_load("t", [] { return std::optional<std::string>("there"); }) == "there");
    auto none = store.get_or_load("u", [] { return std::optional<std::string>(); });
    CHECK(!none && none.status() == HC_NOT_FOUND);
    CHECK(store.get_or_load("u", load).status() == HC_NOT_FOUND && loads == 1);
#if defined(__cpp_exceptions)
    hypercache::load_options options;
    options.retry = 1h;
    bool thrown = false;
    try {
        static_cast<void>(store.get_or_load("v", []() -> std::string { throw 7; }, options));
    } catch (int seven) {
        thrown = seven == 7;
    }
    CHECK(thrown && store.get_or_load("v", load).status() == HC_LOAD_FAILED);
#endif
    // Who holds the lease and asks again is told; who does not wait loads for himself.
    {
        auto claimed = store.claim("w");
        CHECK(claimed && std::holds_alternative<hypercache::lease>(*claimed));
        CHECK(store.get_or_load("w", load).status() == HC_ERR_DEADLOCK);
        hypercache::load_options hurried;
        hurried.timeout = 0ms;
        CHECK(*store.get_or_load("w", load, hurried) == "loaded 2" && !store.contains("w"));
        CHECK(std::get<hypercache::lease>(*claimed).put("mine"));
        CHECK(std::get<hypercache::lease>(*claimed).put("again") == HC_CONFLICT);
    }
    CHECK(*store.get("w") == "mine");
    {
        auto claimed = store.claim("x");
        CHECK(claimed && claimed->index() == 1);
    } // dropped, so that the next one has it
    {
        auto claimed = store.claim("x");
        CHECK(claimed && claimed->index() == 1);
        hypercache::lease kept = std::move(std::get<1>(*claimed));
        CHECK(kept.put("x"));
    }
    // Loaded anew, past its soft time.
    hypercache::load_options soft;
    soft.put.soft_time_to_live = 10ms;
    CHECK(*store.get_or_load("y", load, soft) == "loaded 3");
    std::this_thread::sleep_for(20ms);
    CHECK(*store.get("y") == "loaded 3" && *store.get_or_load("y", load) == "loaded 4");
}

int main() {
    auto pool = hypercache::pool::create(8 << 20);
    CHECK(pool);
    auto store = pool->open_store();
    CHECK(store);
    answers(*pool);
    reading_and_writing(*store);
    times(*store);
    drafts(*store);
    many(*store);
    references(*pool);
    filters(*pool);
    known_keys(*pool);
    reading_through(*store);
    pressure();
    CHECK(pool->validate() && store->validate());
    hypercache::pool kept = *pool;
    std::puts("passed");
}
