// A filter before a slow source, charged to a pool, saved and loaded again.
#include <hypercache.hpp>

#include <cstdio>
#include <iostream>
#include <string>

int main() {
    auto pool = hypercache::pool::create(8 << 20);
    if (!pool) return 1;
    auto config = hypercache::filter_config(50'000).false_positives(0.01).in(*pool);
    auto filter = hypercache::filter::create(config);
    if (!filter) {
        std::cerr << filter.error().message() << '\n';
        return 1;
    }

    for (int i = 0; i < 50'000; i++) {
        if (!filter->add("user:" + std::to_string(i))) return 1;
    }
    int maybe = 0;
    for (int i = 50'000; i < 150'000; i++) maybe += filter->may_contain("user:" + std::to_string(i));
    std::cout << "of 100000 strangers, " << (maybe > 0 ? "a few" : "none")
              << " were let through, at most one in a hundred: " << std::boolalpha
              << (maybe <= 1'100) << '\n';

    // One file that is always whole: written beside, then renamed over.
    const std::string path = "hypercache-example.filter";
    if (auto saved = filter->save(path.c_str()); !saved) {
        std::cerr << saved.error().message() << '\n';
        return 1;
    }
    auto loaded = hypercache::filter::load(path.c_str());
    std::remove(path.c_str());
    if (!loaded) {
        std::cerr << loaded.error().message() << '\n';
        return 1;
    }
    const hc_slice keys[] = {hypercache::bytes("user:7").slice(),
                             hypercache::bytes("nobody").slice()};
    hc_status statuses[2];
    (void)loaded->contains_many(keys, 2, statuses); // several keys, their memory asked for at once
    std::cout << "user:7 " << hypercache::name_of(statuses[0]) << ", nobody "
              << hypercache::name_of(statuses[1]) << '\n';
    return statuses[0] == HC_OK && maybe <= 1'100 ? 0 : 1;
}
