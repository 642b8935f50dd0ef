// Reading through the cache: 64 threads want 100 keys of a slow source. With get_or_load each key
// is loaded once; without it, whoever misses loads.
#include <hypercache.hpp>

#include <atomic>
#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int keys = 100;
constexpr int threads = 64;

struct source {
    std::atomic<int> loads{0};

    std::string load(const std::string &key) {
        loads++;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return "value of " + key;
    }
};

// Has all threads ask for all keys; returns how long that took.
template <class Ask>
std::chrono::milliseconds crowd(Ask ask) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> all;
    for (int thread = 0; thread < threads; thread++) {
        all.emplace_back([&ask] {
            for (int key = 0; key < keys; key++) ask("key " + std::to_string(key));
        });
    }
    for (auto &thread : all) thread.join();
    return std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - start);
}

} // namespace

int main() {
    auto pool = hypercache::pool::create(16 << 20);
    if (!pool) return 1;
    auto with = pool->open_store(), without = pool->open_store();
    if (!with || !without) return 1;
    source first, second;
    std::atomic<int> wrong{0};

    const auto together = crowd([&](const std::string &key) {
        auto value = with->get_or_load(key, [&] { return first.load(key); });
        if (!value || *value != "value of " + key) wrong++;
    });
    const auto apart = crowd([&](const std::string &key) {
        auto value = without->get(key);
        if (!value) {
            value = second.load(key);
            if (!without->set(key, *value)) wrong++;
        }
        if (*value != "value of " + key) wrong++;
    });
    std::cout << "                     loads   time\n"
              << "get_or_load          " << first.loads << "     " << together.count() << " ms\n"
              << "get, else load, set  " << second.loads << "    " << apart.count() << " ms\n";
    return wrong == 0 && first.loads == keys && second.loads >= keys ? 0 : 1;
}
