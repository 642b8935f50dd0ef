// Many keys in one call: their memory accesses overlap.
#include <hypercache.hpp>

#include <iostream>
#include <string>
#include <vector>

int main() {
    auto pool = hypercache::pool::create(16 << 20);
    if (!pool) return 1;
    auto store = pool->open_store();
    if (!store) return 1;

    std::vector<std::string> keys, squares;
    for (int i = 0; i < 100; i++) {
        keys.push_back("square of " + std::to_string(i));
        squares.push_back(std::to_string(i * i));
    }
    std::vector<hc_entry> entries(keys.size());
    for (std::size_t i = 0; i < keys.size(); i++) {
        entries[i].key = hypercache::bytes(keys[i]).slice();
        entries[i].value = hypercache::bytes(squares[i]).slice();
        entries[i].type = HC_TYPE_STRING;
    }
    if (!store->put_many(entries.data(), entries.size())) return 1;

    // Copies, or none where there is nothing.
    const std::vector<std::string> wanted{"square of 3", "square of 99", "square of a circle"};
    const auto values = store->get_many(wanted);
    for (std::size_t i = 0; i < wanted.size(); i++) {
        std::cout << wanted[i] << ": " << values[i].value_or("unknown") << '\n';
    }

    // Everything whose key begins alike, one by one.
    auto walk = store->scan(hypercache::match::prefix("square of 9"));
    if (!walk) return 1;
    int seen = 0;
    for (auto &entry : *walk) {
        std::cout << "  " << entry.key << " = " << entry.value.text() << '\n';
        seen++;
    }
    auto removed = store->invalidate(hypercache::match::glob("square of ?"));
    std::cout << seen << " seen, " << removed.value_or(0) << " one-digit ones removed\n";
    return seen == 11 && removed.value_or(0) == 10 && !values[2] ? 0 : 1;
}
