// Be told when memory that the pool cannot take back gets tight.
#include <hypercache.hpp>

#include <atomic>
#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

int main() {
    using namespace std::chrono_literals;
    auto pool = hypercache::pool::create(
        hypercache::pool_config(8 << 20).thresholds(50, 70, 85));
    if (!pool) return 1;

    std::atomic<int> told{0};
    auto watch = pool->watch([&told](const hypercache::pressure_event &event) {
        // One string, because the main thread writes as well.
        std::cout << "  told: level " + std::to_string(event.level) + " at " +
                         std::to_string(event.used_bytes >> 10) + " KiB\n";
        told++;
    });
    if (!watch) return 1;

    std::vector<void *> blocks;
    while (pool->pressure() < HC_PRESSURE_HIGH) {
        void *block = pool->alloc(64 << 10);
        if (block == nullptr) break;
        blocks.push_back(block);
    }
    std::uint64_t seq = 0;
    auto level = pool->wait(seq, 1s);
    std::cout << std::to_string(blocks.size()) + " blocks of 64 KiB taken, level " +
                     std::to_string(level.value_or(-1)) + '\n';
    // Levels that have passed by the time the library's thread runs are not told: give it time.
    for (int i = 0; i < 1000 && told == 0; i++) std::this_thread::sleep_for(5ms);
    for (void *block : blocks) {
        if (!pool->free(block)) return 1;
    }
    watch->cancel(); // no call is running or will come after this
    std::cout << "told " << (told > 0 ? "in time" : "nothing") << '\n';
    return told > 0 ? 0 : 1;
}
