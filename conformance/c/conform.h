/* What a behaviour becomes in C: one call of these a step. The functions that call them are
 * generated from the list by the test that compiles this. */
#ifndef CONFORM_H
#define CONFORM_H

#include <hypercache.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ANY UINT64_MAX /* not compared */

static const char *where = "";

static void wrong(int step, const char *what) {
    fprintf(stderr, "%s, step %d: %s\n", where, step, what);
    exit(1);
}

static void status_is(int step, hc_status expected, hc_status got) {
    if (expected == got) return;
    fprintf(stderr, "%s, step %d: %s, should be %s\n", where, step, hc_status_name(got),
            hc_status_name(expected));
    exit(1);
}

static void number_is(int step, const char *name, uint64_t expected, uint64_t got) {
    if (expected == ANY || expected == got) return;
    fprintf(stderr, "%s, step %d: %s is %llu, should be %llu\n", where, step, name,
            (unsigned long long)got, (unsigned long long)expected);
    exit(1);
}

static void bytes_are(int step, hc_slice expected, const void *data, size_t len) {
    if (expected.data == NULL) return;
    if (len != expected.len || memcmp(data, expected.data, len) != 0) wrong(step, "another value");
}

/* A value that the list describes as a repetition. */
static hc_slice repeated(const char *text, size_t len, size_t times) {
    hc_slice slice;
    char *all = malloc(len * times + 1);
    for (size_t i = 0; i < times; i++) memcpy(all + i * len, text, len);
    slice.data = all;
    slice.len = len * times;
    return slice;
}

static hc_slice literal(const char *text, size_t len) {
    hc_slice slice;
    slice.data = text;
    slice.len = len;
    return slice;
}

static const hc_slice NONE = {NULL, 0};

typedef struct expected_entry {
    hc_slice value;
    uint64_t len, type, flags, session, ttl_least, ttl_most, version;
} expected_entry;

static hc_put_options options(int32_t mode, uint64_t ttl, uint32_t type, uint32_t flags,
                              uint64_t session, uint64_t version, uint64_t soft,
                              uint64_t idle) {
    hc_put_options o;
    HC_INIT(&o);
    o.mode = mode;
    o.ttl_ms = ttl;
    o.type = type;
    o.flags = flags;
    o.session = session;
    o.expected_version = version;
    o.soft_ttl_ms = soft;
    o.idle_ttl_ms = idle;
    return o;
}

static void put(int step, hc_status status, hc_store *store, hc_slice key, hc_slice value,
                hc_put_options o, uint64_t *version) {
    uint64_t made = 0;
    status_is(step, status, hc_put(store, key.data, key.len, value.data, value.len, &o, &made));
    if (status == HC_OK && made == 0) wrong(step, "no version");
    *version = made;
}

/* 'g' get, 'p' peek, 't' take */
static void look_up(int step, hc_status status, hc_store *store, char how, hc_slice key, size_t cap,
                    expected_entry e, uint64_t *version) {
    char *buf = malloc(cap + 1);
    hc_info info;
    memset(&info, 0, sizeof info);
    hc_status got = how == 't' ? hc_take(store, key.data, key.len, buf, cap, &info)
                               : hc_get_info(store, key.data, key.len, how == 'p' ? HC_PEEK : 0,
                                             buf, cap, &info);
    status_is(step, status, got);
    if (got == HC_OK || got == HC_SMALL_BUFFER) {
        number_is(step, "len", e.len, info.len);
        number_is(step, "type", e.type, info.type);
        number_is(step, "flags", e.flags, info.flags);
        number_is(step, "session", e.session, info.session);
        number_is(step, "version", e.version, info.version);
        if (info.ttl_ms < e.ttl_least || info.ttl_ms > e.ttl_most) wrong(step, "another ttl_ms");
        *version = info.version;
    }
    if (got == HC_OK) bytes_are(step, e.value, buf, info.len);
    free(buf);
}

static void get_many(int step, hc_status status, hc_store *store, const hc_slice *keys, size_t n,
                     size_t cap, const hc_status *expected, const hc_slice *values) {
    char *buf = malloc(cap + 1);
    hc_slice *got = calloc(n + 1, sizeof *got);
    hc_status *statuses = calloc(n + 1, sizeof *statuses);
    status_is(step, status, hc_get_many(store, keys, n, 0, buf, cap, got, NULL, statuses));
    for (size_t i = 0; i < n; i++) {
        status_is(step, expected[i], statuses[i]);
        if (statuses[i] == HC_OK) bytes_are(step, values[i], got[i].data, got[i].len);
        else if (got[i].data != NULL) wrong(step, "a value where there is none");
    }
    free(statuses);
    free(got);
    free(buf);
}

static void put_many(int step, hc_status status, hc_store *store, const hc_slice *keys,
                     const hc_slice *values, size_t n, int32_t mode, const hc_status *expected) {
    hc_entry *entries = calloc(n + 1, sizeof *entries);
    hc_status *statuses = calloc(n + 1, sizeof *statuses);
    hc_put_options o = options(mode, HC_TTL_DEFAULT, 0, 0, 0, 0, 0, 0);
    for (size_t i = 0; i < n; i++) {
        entries[i].key = keys[i];
        entries[i].value = values[i];
    }
    status_is(step, status, hc_put_many(store, entries, n, &o, statuses));
    for (size_t i = 0; i < n; i++) status_is(step, expected[i], statuses[i]);
    free(statuses);
    free(entries);
}

static void commit(int step, hc_status status, hc_draft *draft, hc_slice value) {
    number_is(step, "len of the draft", value.len, draft->len);
    memcpy(draft->data, value.data, value.len);
    status_is(step, status, hc_commit(draft, NULL));
}

/* cap ANY: hc_claim, else hc_get_or_claim */
static void claim(int step, hc_status status, hc_store *store, hc_slice key, uint32_t flags,
                  uint64_t timeout_ms, uint64_t cap, expected_entry e, uint64_t *version,
                  hc_lease *lease) {
    char *buf = malloc(cap == ANY ? 1 : cap + 1);
    hc_info info;
    hc_view view;
    hc_status got;
    memset(&info, 0, sizeof info);
    memset(&view, 0, sizeof view);
    if (cap == ANY) {
        got = hc_claim(store, key.data, key.len, flags, timeout_ms, &view, lease);
        info.len = view.len;
        info.version = view.version;
        info.ttl_ms = view.ttl_ms;
        info.session = view.session;
        info.type = view.type;
        info.flags = view.flags;
    } else {
        got = hc_get_or_claim(store, key.data, key.len, flags, timeout_ms, buf, cap, &info, lease);
    }
    status_is(step, status, got);
    if (got == HC_OK) {
        number_is(step, "len", e.len, info.len);
        number_is(step, "type", e.type, info.type);
        number_is(step, "flags", e.flags, info.flags);
        number_is(step, "session", e.session, info.session);
        number_is(step, "version", e.version, info.version);
        if (info.ttl_ms < e.ttl_least || info.ttl_ms > e.ttl_most) wrong(step, "another ttl_ms");
        *version = info.version;
        bytes_are(step, e.value, cap == ANY ? view.data : buf, info.len);
    }
    hc_unpin(&view);
    free(buf);
}

/* By value: the list uses leases again that have ended. */
static void lease_put(int step, hc_status status, hc_store *store, hc_lease lease, hc_slice value,
                      hc_put_options o, uint64_t *version) {
    status_is(step, status, hc_lease_put(store, &lease, value.data, value.len, &o, version));
    if (lease.id != 0 || lease.generation != 0) wrong(step, "the lease was not cleared");
}

static void lease_drop(hc_store *store, hc_lease lease, int32_t reason, uint64_t retry_ms) {
    hc_lease_drop(store, &lease, reason, retry_ms);
}

static hc_match matching(int32_t kind, hc_slice pattern, uint64_t session, uint32_t type) {
    hc_match m;
    HC_INIT(&m);
    m.kind = kind;
    m.pattern = pattern;
    m.session = session;
    m.type = type;
    return m;
}

static void scan(int step, hc_store *store, hc_match m, const hc_slice *keys, size_t n) {
    hc_scan *walk = NULL;
    hc_slice key;
    hc_status s;
    char *seen = calloc(n + 1, 1);
    size_t count = 0;
    status_is(step, HC_OK, hc_scan_open(store, &m, &walk));
    while ((s = hc_scan_next(walk, &key, NULL)) == HC_OK) {
        size_t i = 0;
        while (i < n && (keys[i].len != key.len || memcmp(keys[i].data, key.data, key.len) != 0)) {
            i++;
        }
        if (i == n || seen[i]) wrong(step, "a key that should not be there, or twice");
        seen[i] = 1;
        count++;
    }
    status_is(step, HC_DONE, s);
    hc_scan_close(walk);
    number_is(step, "keys seen", n, count);
    free(seen);
}

static void rest(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) continue;
}

static void begin(const hc_pool_config *pc, const hc_store_config *sc, hc_pool **pool,
                  hc_store **store) {
    hc_error err;
    HC_INIT(&err);
    if (hc_pool_create(pc, pool, &err) != HC_OK) wrong(0, err.message);
    if (hc_store_open(*pool, sc, store, &err) != HC_OK) wrong(0, err.message);
}

static hc_filter *new_filter(hc_pool *pool, uint64_t capacity) {
    hc_filter_config fc;
    hc_error err;
    hc_filter *filter = NULL;
    HC_INIT(&fc);
    HC_INIT(&err);
    fc.capacity = capacity;
    fc.pool = pool;
    if (hc_filter_create(&fc, &filter, &err) != HC_OK) wrong(0, err.message);
    return filter;
}

/* The filter as a file has it. */
static hc_filter *reloaded(int step, hc_filter *filter) {
    hc_error err;
    hc_filter *loaded = NULL;
    char path[] = "/tmp/hypercache-conformance-XXXXXX";
    int file = mkstemp(path);
    HC_INIT(&err);
    if (file < 0 || close(file) != 0) wrong(step, "no file for the filter");
    if (hc_filter_save(filter, path, &err) != HC_OK) wrong(step, err.message);
    if (hc_filter_load(path, NULL, &loaded, &err) != HC_OK) wrong(step, err.message);
    unlink(path);
    hc_filter_release(filter);
    return loaded;
}

static void filter_contains_many(int step, hc_status status, hc_filter *filter,
                                 const hc_slice *keys, size_t n, const hc_status *expected) {
    hc_status *statuses = calloc(n + 1, sizeof *statuses);
    status_is(step, status, hc_filter_contains_many(filter, keys, n, statuses));
    for (size_t i = 0; i < n; i++) status_is(step, expected[i], statuses[i]);
    free(statuses);
}

static void end(hc_pool *pool, hc_store *store, hc_filter *filter) {
    hc_error err;
    HC_INIT(&err);
    if (filter && hc_filter_validate(filter, &err) != HC_OK) wrong(-1, err.message);
    hc_filter_release(filter);
    if (hc_pool_validate(pool, &err) != HC_OK) wrong(-1, err.message);
    hc_store_release(store);
    hc_pool_release(pool);
}

#endif
