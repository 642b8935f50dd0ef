// Store something, read it back, let it expire, and look at the figures.
//
//   c++ -std=c++17 hello.cpp $(pkg-config --cflags --libs hypercache) -o hello
#include <hypercache.hpp>

#include <chrono>
#include <iostream>
#include <thread>
#include <vector>

int main() {
    using namespace std::chrono_literals;

    // A pool is a number of bytes that holds; a store holds entries in it. Both give back what
    // they hold when they go.
    auto pool = hypercache::pool::create(16 << 20);
    if (!pool) {
        std::cerr << "no pool: " << pool.error().message() << '\n';
        return 1;
    }
    auto store = pool->open_store(hypercache::store_config("greetings"));
    if (!store) {
        std::cerr << "no store: " << store.error().message() << '\n';
        return 1;
    }

    // A write answers with a status; a read with a value, or none.
    if (auto done = store->set("en", "Hello, cache!"); !done) {
        std::cerr << "set: " << done.name() << '\n';
        return 1;
    }
    if (auto value = store->get("en")) std::cout << *value << '\n';
    std::cout << "Auf Deutsch: " << store->get("de").value_or("noch nicht") << '\n';

    // Anything with data() and size() is bytes.
    const std::vector<std::uint8_t> primes{2, 3, 5, 7, 11, 13};
    if (!store->set("primes", primes)) return 1;
    if (auto view = store->pin("primes")) {
        for (int prime : *view) std::cout << prime << ' ';
        std::cout << "(read in place)\n";
    }

    // Times to live are durations.
    if (!store->set("brief", "now you see me", 200ms)) return 1;
    std::cout << "In time: " << store->get("brief").value_or("too late") << '\n';
    std::this_thread::sleep_for(300ms);
    auto late = store->get("brief");
    std::cout << "300 ms later: " << hypercache::name_of(late.status()) << '\n';

    // A typo is an error that says what is wrong.
    auto wrong = pool->open_store(hypercache::store_config("pages").policy(HC_POLICY_S3FIFO, "smal=10"));
    if (!wrong) std::cout << "As it should be: " << wrong.error().message() << '\n';

    const auto stats = store->stats();
    std::cout << stats.hits << " hits, " << stats.misses << " misses, " << stats.entries
              << " entries\n";
    return late ? 1 : 0;
}
