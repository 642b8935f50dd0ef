/* Runs all tests, or the one that is named, or all but those named with a dash before them;
 * --list names them. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <time.h>

static const char *running;

void failed(const char *file, int line, const char *what) {
    fprintf(stderr, "%s:%d: in %s: %s\n", file, line, running, what);
    exit(1);
}

void is(const char *file, int line, const char *call, hc_status expected, hc_status got) {
    if (expected == got) return;
    fprintf(stderr, "%s:%d: in %s: %s\n  is %s, should be %s\n", file, line, running, call,
            hc_status_name(got), hc_status_name(expected));
    exit(1);
}

void says(const char *file, int line, const hc_error *err, const char *word) {
    if (strstr(err->message, word)) return;
    fprintf(stderr, "%s:%d: in %s: the message does not name \"%s\": %s\n", file, line, running,
            word, err->message);
    exit(1);
}

hc_pool *make_pool(uint64_t limit) {
    hc_pool_config config;
    hc_error err;
    hc_pool *pool = NULL;
    HC_INIT(&config);
    HC_INIT(&err);
    config.limit_bytes = limit;
    if (hc_pool_create(&config, &pool, &err) != HC_OK) failed(__FILE__, __LINE__, err.message);
    return pool;
}

hc_store *make_store(hc_pool *pool) {
    hc_store_config config;
    hc_error err;
    hc_store *store = NULL;
    HC_INIT(&config);
    HC_INIT(&err);
    if (hc_store_open(pool, &config, &store, &err) != HC_OK) {
        failed(__FILE__, __LINE__, err.message);
    }
    return store;
}

void give_back(hc_pool *pool, hc_store *store) {
    hc_error err;
    HC_INIT(&err);
    if (hc_pool_validate(pool, &err) != HC_OK) failed(__FILE__, __LINE__, err.message);
    hc_store_release(store);
    hc_pool_release(pool);
}

void holds(hc_store *store, const char *key, const char *value) {
    char buf[256];
    size_t len = 0;
    IS(HC_OK, hc_get(store, key, strlen(key), buf, sizeof buf, &len));
    if (len != strlen(value) || memcmp(buf, value, len) != 0) failed(__FILE__, __LINE__, key);
}

void misses(hc_store *store, const char *key) {
    char buf[256];
    size_t len = 77;
    IS(HC_NOT_FOUND, hc_get(store, key, strlen(key), buf, sizeof buf, &len));
    CHECK(len == 77);
}

hc_slice slice(const char *text) {
    hc_slice s;
    s.data = text;
    s.len = strlen(text);
    return s;
}

void pause_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) continue;
}

static int wanted(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') return strcmp(argv[i], name) == 0;
        if (strcmp(argv[i] + 1, name) == 0) return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    const test *const all[] = {basics,  pools,   raw_memory, stores,  reads,
                               writes,  batches, walks,      structs, filters,
                               lifetimes, leases};
    int ran = 0;
    for (size_t i = 0; i < COUNT(all); i++) {
        for (const test *t = all[i]; t->name; t++) {
            if (argc > 1 && strcmp(argv[1], "--list") == 0) {
                puts(t->name);
                ran++;
                continue;
            }
            if (!wanted(argc, argv, t->name)) continue;
            running = t->name;
            printf("%s ...\n", t->name);
            fflush(stdout);
            t->run();
            ran++;
        }
    }
    return ran > 0 ? 0 : 1;
}
