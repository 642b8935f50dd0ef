// Write a large value where it will lie, and read it there: no copy on either side.
#include <hypercache.hpp>

#include <cstring>
#include <iostream>
#include <string_view>

int main() {
    auto pool = hypercache::pool::create(32 << 20);
    if (!pool) return 1;
    auto store = pool->open_store();
    if (!store) return 1;

    constexpr std::string_view verse = "It was the best of times, it was the worst of times. ";
    {
        auto draft = store->reserve("novel", verse.size() * 10'000);
        if (!draft) return 1;
        auto *at = static_cast<char *>(draft->data());
        for (int i = 0; i < 10'000; i++, at += verse.size()) {
            std::memcpy(at, verse.data(), verse.size());
        }
        if (!draft->commit()) return 1; // until here nobody saw it; without this nobody would
    }

    auto novel = store->pin("novel");
    if (!novel) return 1;
    if (!store->clear()) return 1; // the entry goes; what is pinned stays readable
    std::cout << novel->text().substr(0, verse.size()) << "...\n"
              << novel->size() << " bytes, version " << (novel->version() != 0 ? "known" : "none")
              << ", in the cache by now: " << std::boolalpha << store->contains("novel") << '\n';

    // Optimistic writing: only if nobody has written since.
    if (!store->set("counter", "1")) return 1;
    auto seen = store->pin("counter");
    if (!seen) return 1;
    auto first = store->compare_and_set("counter", "2", seen->version());
    auto second = store->compare_and_set("counter", "3", seen->version());
    std::cout << "first writer: " << hypercache::name_of(first.status())
              << ", second writer: " << hypercache::name_of(second.status()) << '\n';
    return first && second.status() == HC_CONFLICT ? 0 : 1;
}
