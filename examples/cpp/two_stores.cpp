// Two stores on one budget, found by name from anywhere in the process.
#include <hypercache.hpp>

#include <iostream>
#include <string>

namespace {

void show(const char *name, const hypercache::store &store) {
    const auto s = store.stats();
    std::cout << "  " << name << ": " << s.entries << " entries, " << (s.used_bytes >> 10)
              << " KiB, " << s.evicted << " evicted\n";
}

// Some other part of the program: it knows the names and nothing else.
bool somewhere_else() {
    auto pool = hypercache::pool::find("web");
    if (!pool) return false;
    auto sessions = pool->find_store("sessions");
    return sessions && sessions->contains("session-1");
}

} // namespace

int main() {
    auto pool = hypercache::pool::open("web", hypercache::pool_config(8 << 20));
    if (!pool) return 1;
    auto sessions = pool->open_store(hypercache::store_config("sessions").floor(2 << 20));
    auto pages = pool->open_store(hypercache::store_config("pages"));
    if (!sessions || !pages) return 1;

    const std::string session(100, 's'), page(2048, 'p');
    for (int i = 0; i < 5000; i++) {
        if (!sessions->set("session-" + std::to_string(i), session)) return 1;
    }
    std::cout << "Found by name elsewhere: " << std::boolalpha << somewhere_else() << '\n';
    for (int i = 0; i < 20'000; i++) {
        if (pages->set("/page/" + std::to_string(i), page).failed()) return 1;
    }
    show("sessions", *sessions);
    show("pages", *pages);

    const auto s = pool->stats();
    std::cout << "The pool uses " << (s.used_bytes >> 10) << " of " << (s.limit_bytes >> 10)
              << " KiB and never used more.\n";
    if (auto sound = pool->validate(); !sound) {
        std::cerr << sound.error().message() << '\n';
        return 1;
    }
    return s.peak_bytes <= (8u << 20) ? 0 : 1;
}
