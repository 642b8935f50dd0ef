/* A test suite in few words: functions in a table, checks that say where and what. */
#ifndef CHECK_H
#define CHECK_H

#include <hypercache.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
/* A key or value that is text, as the two arguments that calls take. */
#define S(text) (text), (sizeof(text) - 1)
#define COUNT(array) (sizeof(array) / sizeof *(array))

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) failed(__FILE__, __LINE__, #condition);                    \
    } while (0)

/* The call's status is this one. */
#define IS(expected, call) is(__FILE__, __LINE__, #call, (expected), (call))

/* The call fails with this status, and its message names the word. */
#define SAYS(expected, word, err, call)                                              \
    do {                                                                             \
        HC_INIT(&(err));                                                             \
        IS(expected, call);                                                          \
        CHECK((err).status == (expected));                                           \
        says(__FILE__, __LINE__, &(err), (word));                                    \
    } while (0)

void failed(const char *file, int line, const char *what);
void is(const char *file, int line, const char *call, hc_status expected, hc_status got);
void says(const char *file, int line, const hc_error *err, const char *word);

/* A pool of so many bytes, a store in it, both with every default. */
hc_pool *make_pool(uint64_t limit);
hc_store *make_store(hc_pool *pool);
/* Checks the pool, then releases both. */
void give_back(hc_pool *pool, hc_store *store);

/* The entry's value is this text. */
void holds(hc_store *store, const char *key, const char *value);
void misses(hc_store *store, const char *key);

hc_slice slice(const char *text);
void pause_ms(long ms);

typedef struct test {
    const char *name;
    void (*run)(void);
} test;

extern const test basics[], pools[], raw_memory[], stores[], reads[], writes[], batches[], walks[],
    structs[], filters[], lifetimes[], leases[];

#endif
