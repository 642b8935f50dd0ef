/* Filters: what they answer, count, refuse, and keep in files. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <unistd.h>

static hc_filter *make_filter(uint64_t capacity, hc_pool *pool) {
    hc_filter_config c;
    hc_error err;
    hc_filter *filter = NULL;
    HC_INIT(&c);
    HC_INIT(&err);
    c.capacity = capacity;
    c.pool = pool;
    c.hash_seed = 7;
    if (hc_filter_create(&c, &filter, &err) != HC_OK) failed(__FILE__, __LINE__, err.message);
    return filter;
}

static void add_many(hc_filter *filter, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) IS(HC_OK, hc_filter_add(filter, &i, sizeof i));
}

static void has_many(hc_filter *filter, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) IS(HC_OK, hc_filter_contains(filter, &i, sizeof i));
}

static hc_filter_stats stats_of(hc_filter *filter) {
    hc_filter_stats s;
    HC_INIT(&s);
    IS(HC_OK, hc_filter_stats_get(filter, &s));
    return s;
}

static void add_and_remove(void) {
    hc_filter *filter = make_filter(1000, NULL);
    IS(HC_NOT_FOUND, hc_filter_contains(filter, S("k")));
    IS(HC_NOT_FOUND, hc_filter_remove(filter, S("k")));
    IS(HC_OK, hc_filter_add(filter, S("k")));
    IS(HC_OK, hc_filter_add(filter, NULL, 0));
    IS(HC_OK, hc_filter_contains(filter, S("k")));
    IS(HC_OK, hc_filter_contains(filter, "", 0));
    hc_filter_stats s = stats_of(filter);
    CHECK(s.keys == 2 && s.adds == 2 && s.removes == 1 && s.remove_failures == 1);
    CHECK(s.capacity == 1000 && s.lookups >= 3 && s.positives >= 2 && s.saturated == 0);
    IS(HC_OK, hc_filter_remove(filter, S("k")));
    IS(HC_NOT_FOUND, hc_filter_contains(filter, S("k")));
    /* Seven adds are counted, the eighth stays. */
    for (int i = 0; i < 7; i++) IS(HC_OK, hc_filter_add(filter, S("seven")));
    for (int i = 0; i < 7; i++) IS(HC_OK, hc_filter_remove(filter, S("seven")));
    IS(HC_NOT_FOUND, hc_filter_contains(filter, S("seven")));
    for (int i = 0; i < 8; i++) IS(HC_OK, hc_filter_add(filter, S("eight")));
    for (int i = 0; i < 9; i++) IS(HC_OK, hc_filter_remove(filter, S("eight")));
    IS(HC_OK, hc_filter_contains(filter, S("eight")));
    IS(HC_OK, hc_filter_clear(filter));
    IS(HC_NOT_FOUND, hc_filter_contains(filter, S("eight")));
    IS(HC_OK, hc_filter_validate(filter, NULL));
    hc_filter_release(filter);
}

static void many(void) {
    hc_filter *filter = make_filter(1000, NULL);
    add_many(filter, 20000);
    has_many(filter, 20000);
    CHECK(stats_of(filter).resizes > 0);
    static uint32_t numbers[100];
    static hc_slice keys[100];
    static hc_status statuses[100];
    for (uint32_t i = 0; i < 100; i++) {
        numbers[i] = i;
        keys[i].data = &numbers[i];
        keys[i].len = sizeof numbers[i];
    }
    IS(HC_OK, hc_filter_contains_many(filter, keys, 100, statuses));
    for (int i = 0; i < 100; i++) CHECK(statuses[i] == HC_OK);
    /* A bad key has a status of its own and takes no other with it. */
    keys[40].data = NULL;
    keys[41].len = HC_KEY_LEN_MAX + 1;
    IS(HC_PARTIAL, hc_filter_contains_many(filter, keys, 100, statuses));
    for (int i = 0; i < 100; i++) {
        CHECK(statuses[i] == (i == 40 || i == 41 ? HC_ERR_INVALID : HC_OK));
    }
    IS(HC_OK, hc_filter_contains_many(filter, NULL, 0, NULL));
    IS(HC_OK, hc_filter_clear(filter));
    IS(HC_PARTIAL, hc_filter_contains_many(filter, keys, 100, statuses));
    CHECK(statuses[0] == HC_NOT_FOUND);
    hc_filter_release(filter);
}

static void in_a_pool(void) {
    hc_pool *pool = make_pool(1 * MIB);
    hc_pool_stats before, during;
    HC_INIT(&before);
    HC_INIT(&during);
    IS(HC_OK, hc_pool_stats_get(pool, &before));
    hc_filter *filter = make_filter(100000, pool);
    IS(HC_OK, hc_pool_stats_get(pool, &during));
    CHECK(during.used_bytes >= before.used_bytes + stats_of(filter).bytes);
    CHECK(during.held_bytes >= before.held_bytes + stats_of(filter).bytes);
    /* Until the pool has no room to grow into. */
    uint32_t n = 0;
    hc_status s;
    while ((s = hc_filter_add(filter, &n, sizeof n)) == HC_OK) n++;
    CHECK(s == HC_ERR_NO_SPACE && n > 200000);
    CHECK(stats_of(filter).saturated == 1 && stats_of(filter).add_failures == 1);
    has_many(filter, n + 1);
    IS(HC_OK, hc_filter_contains(filter, S("never added")));
    IS(HC_OK, hc_filter_remove(filter, &n, sizeof n));
    IS(HC_OK, hc_filter_clear(filter));
    IS(HC_NOT_FOUND, hc_filter_contains(filter, S("never added")));
    CHECK(stats_of(filter).saturated == 0);
    /* The filter keeps its pool; whichever goes first. */
    IS(HC_OK, hc_pool_validate(pool, NULL));
    hc_pool_release(pool);
    add_many(filter, 1000);
    CHECK(hc_filter_retain(filter) == filter);
    hc_filter_release(filter);
    has_many(filter, 1000);
    hc_filter_release(filter);
    hc_filter_release(NULL);
    CHECK(hc_filter_retain(NULL) == NULL);
}

static void files(void) {
    char path[] = "/tmp/hypercache-filter-XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0 && close(file) == 0);
    hc_error err;
    hc_filter *filter = make_filter(1000, NULL), *loaded = NULL;
    add_many(filter, 5000);
    SAYS(HC_ERR_CORRUPT, path, err, hc_filter_load(path, NULL, &loaded, &err));
    IS(HC_OK, hc_filter_save(filter, path, NULL));
    IS(HC_OK, hc_filter_load(path, NULL, &loaded, NULL));
    has_many(loaded, 5000);
    IS(HC_OK, hc_filter_validate(loaded, NULL));
    hc_filter_release(loaded);
    hc_filter_config c;
    HC_INIT(&c);
    c.pool = make_pool(1 * MIB);
    c.capacity = 1000;
    IS(HC_OK, hc_filter_load(path, &c, &loaded, NULL));
    has_many(loaded, 5000);
    hc_filter_release(loaded);
    c.capacity = 1001;
    SAYS(HC_ERR_INVALID, "capacity", err, hc_filter_load(path, &c, &loaded, &err));
    hc_pool_release(c.pool);
    /* One byte of it changed, then cut. */
    FILE *f = fopen(path, "r+b");
    CHECK(f && fseek(f, 200, SEEK_SET) == 0);
    int byte = fgetc(f);
    CHECK(byte != EOF && fseek(f, 200, SEEK_SET) == 0 && fputc(byte ^ 4, f) != EOF);
    CHECK(fclose(f) == 0);
    IS(HC_ERR_CORRUPT, hc_filter_load(path, NULL, &loaded, NULL));
    CHECK(truncate(path, 300) == 0);
    IS(HC_ERR_CORRUPT, hc_filter_load(path, NULL, &loaded, NULL));
    CHECK(unlink(path) == 0);
    SAYS(HC_ERR_IO, path, err, hc_filter_load(path, NULL, &loaded, &err));
    CHECK(err.os_error != 0);
    SAYS(HC_ERR_IO, "/no/such", err, hc_filter_save(filter, "/no/such/folder/f", &err));
    hc_filter_release(filter);
}

static void refused(void) {
    hc_error err;
    hc_filter_config c;
    hc_filter_stats s;
    hc_filter *filter = NULL;
    hc_status status = HC_OK;
    hc_slice key = slice("k");
    HC_INIT(&c);
    SAYS(HC_ERR_INVALID, "capacity", err, hc_filter_create(&c, &filter, &err));
    c.capacity = 10;
    c.fpr = 0.5;
    SAYS(HC_ERR_INVALID, "fpr", err, hc_filter_create(&c, &filter, &err));
    c.fpr = 0;
    c.flags = 1;
    SAYS(HC_ERR_UNSUPPORTED, "flags", err, hc_filter_create(&c, &filter, &err));
    c.flags = 0;
    c.reserved = 1;
    SAYS(HC_ERR_INVALID, "reserved", err, hc_filter_create(&c, &filter, &err));
    c.reserved = 0;
    IS(HC_ERR_INVALID, hc_filter_create(NULL, &filter, NULL));
    IS(HC_ERR_INVALID, hc_filter_create(&c, NULL, NULL));
    CHECK(filter == NULL);
    c.capacity = UINT64_MAX;
    SAYS(HC_ERR_INVALID, "capacity", err, hc_filter_create(&c, &filter, &err));
    c.capacity = 10;
    IS(HC_OK, hc_filter_create(&c, &filter, NULL));
    static char long_key[HC_KEY_LEN_MAX + 1];
    IS(HC_ERR_INVALID, hc_filter_add(filter, long_key, sizeof long_key));
    IS(HC_OK, hc_filter_add(filter, long_key, sizeof long_key - 1));
    IS(HC_ERR_INVALID, hc_filter_contains(filter, NULL, 1));
    IS(HC_ERR_INVALID, hc_filter_remove(filter, NULL, 1));
    IS(HC_ERR_INVALID, hc_filter_contains_many(filter, NULL, 1, &status));
    IS(HC_ERR_INVALID, hc_filter_contains_many(filter, &key, 1, NULL));
    IS(HC_ERR_INVALID, hc_filter_contains_many(filter, &key, SIZE_MAX, &status));
    IS(HC_ERR_INVALID, hc_filter_stats_get(filter, NULL));
    IS(HC_ERR_INVALID, hc_filter_save(filter, NULL, NULL));
    IS(HC_ERR_INVALID, hc_filter_save(filter, "\xff", NULL));
    IS(HC_ERR_INVALID, hc_filter_load(NULL, NULL, &filter, NULL));
    IS(HC_ERR_INVALID, hc_filter_load("x", NULL, NULL, NULL));
    HC_INIT(&s);
    IS(HC_ERR_INVALID, hc_filter_add(NULL, S("k")));
    IS(HC_ERR_INVALID, hc_filter_contains(NULL, S("k")));
    IS(HC_ERR_INVALID, hc_filter_contains_many(NULL, &key, 1, &status));
    IS(HC_ERR_INVALID, hc_filter_remove(NULL, S("k")));
    IS(HC_ERR_INVALID, hc_filter_clear(NULL));
    IS(HC_ERR_INVALID, hc_filter_stats_get(NULL, &s));
    IS(HC_ERR_INVALID, hc_filter_validate(NULL, NULL));
    IS(HC_ERR_INVALID, hc_filter_save(NULL, "x", NULL));
    hc_filter_release(filter);
}

static uint64_t held(hc_pool *pool) {
    hc_pool_stats s;
    HC_INIT(&s);
    IS(HC_OK, hc_pool_stats_get(pool, &s));
    return s.held_bytes;
}

static void known_keys(void) {
    hc_pool *pool = make_pool(8 << 20);
    hc_store *store = make_store(pool);
    hc_pool_config pc;
    hc_pool *other = NULL;
    hc_store_stats s;
    HC_INIT(&pc);
    HC_INIT(&s);
    pc.limit_bytes = 4 << 20;
    IS(HC_OK, hc_pool_create(&pc, &other, NULL));
    /* The first of a size may need a page of the pool's tables, which stays. */
    hc_filter_release(make_filter(100000, other));
    uint64_t before = held(other);
    hc_filter *mine = make_filter(1000, NULL), *theirs = make_filter(100000, other);
    IS(HC_OK, hc_filter_add(mine, S("mine")));
    IS(HC_OK, hc_filter_add(theirs, S("theirs")));
    IS(HC_ERR_INVALID, hc_store_set_known_keys(NULL, mine));
    IS(HC_OK, hc_store_set_known_keys(store, NULL));
    IS(HC_OK, hc_may_exist(store, S("absent")));
    /* The store keeps it when the caller does not. */
    IS(HC_OK, hc_store_set_known_keys(store, theirs));
    hc_filter_release(theirs);
    IS(HC_OK, hc_may_exist(store, S("theirs")));
    IS(HC_NOT_FOUND, hc_may_exist(store, S("mine")));
    IS(HC_OK, hc_set(store, S("mine"), S("v"), HC_TTL_DEFAULT));
    IS(HC_OK, hc_may_exist(store, S("mine")));
    IS(HC_OK, hc_delete(store, S("mine")));
    CHECK(held(other) > before);
    IS(HC_OK, hc_store_set_known_keys(store, mine));
    CHECK(held(other) == before);
    IS(HC_OK, hc_may_exist(store, S("mine")));
    IS(HC_NOT_FOUND, hc_may_exist(store, S("theirs")));
    IS(HC_OK, hc_store_stats_get(store, &s));
    CHECK(s.filter_skips == 2 && s.hits == 0 && s.misses == 0);
    hc_store_destroy(store);
    IS(HC_ERR_CLOSED, hc_store_set_known_keys(store, mine));
    IS(HC_ERR_CLOSED, hc_may_exist(store, S("mine")));
    IS(HC_OK, hc_filter_contains(mine, S("mine")));
    hc_filter_release(mine);
    hc_pool_release(other);
    give_back(pool, store);
}

const test filters[] = {
    {"filter_known_keys", known_keys},
    {"filter_add_and_remove", add_and_remove}, {"filter_many", many},
    {"filter_in_a_pool", in_a_pool},           {"filter_files", files},
    {"filter_refused", refused},               {NULL, NULL},
};
