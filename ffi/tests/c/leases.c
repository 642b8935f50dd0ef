/* Claims, leases and waits: what the list of behaviours cannot say, and what callers get wrong. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <poll.h>

static hc_pool *pool;
static hc_store *store;

static void up(void) {
    pool = make_pool(8 * MIB);
    store = make_store(pool);
}

static void down(void) { give_back(pool, store); }

static hc_lease lease_of(const char *key) {
    hc_lease lease = {0, 0};
    hc_view view;
    IS(HC_CLAIMED, hc_claim(store, key, strlen(key), 0, 0, &view, &lease));
    CHECK(lease.generation != 0);
    return lease;
}

static void bad_claims(void) {
    up();
    char buf[8];
    hc_view view;
    hc_info info;
    hc_lease lease, none = {0, 0}, foreign = {UINT64_MAX, UINT64_MAX};
    IS(HC_ERR_INVALID, hc_claim(NULL, S("k"), 0, 0, &view, &lease));
    IS(HC_ERR_INVALID, hc_claim(store, NULL, 1, 0, 0, &view, &lease));
    IS(HC_ERR_INVALID, hc_claim(store, buf, HC_KEY_LEN_MAX + 1, 0, 0, &view, &lease));
    IS(HC_ERR_INVALID, hc_claim(store, S("k"), 0, 0, NULL, &lease));
    IS(HC_ERR_INVALID, hc_claim(store, S("k"), 0, 0, &view, NULL));
    IS(HC_ERR_UNSUPPORTED, hc_claim(store, S("k"), 4, 0, &view, &lease));
    IS(HC_ERR_UNSUPPORTED, hc_claim(store, S("k"), HC_PEEK, 0, &view, &lease));
    IS(HC_ERR_INVALID, hc_get_or_claim(NULL, S("k"), 0, 0, buf, 8, &info, &lease));
    IS(HC_ERR_INVALID, hc_get_or_claim(store, S("k"), 0, 0, NULL, 8, &info, &lease));
    IS(HC_ERR_INVALID, hc_get_or_claim(store, S("k"), 0, 0, buf, 8, NULL, &lease));
    IS(HC_ERR_INVALID, hc_get_or_claim(store, S("k"), 0, 0, buf, 8, &info, NULL));
    IS(HC_ERR_UNSUPPORTED, hc_get_or_claim(store, S("k"), 1u << 31, 0, buf, 8, &info, &lease));
    IS(HC_ERR_INVALID, hc_lease_put(NULL, &none, S("v"), NULL, NULL));
    IS(HC_ERR_INVALID, hc_lease_put(store, NULL, S("v"), NULL, NULL));
    IS(HC_CONFLICT, hc_lease_put(store, &none, S("v"), NULL, NULL));
    IS(HC_CONFLICT, hc_lease_put(store, &foreign, S("v"), NULL, NULL));
    CHECK(foreign.id == 0 && foreign.generation == 0);
    hc_lease_drop(NULL, &none, HC_DROP_FAILED, 0);
    hc_lease_drop(store, NULL, HC_DROP_FAILED, 0);
    hc_lease_drop(store, &none, HC_DROP_FAILED, 0);
    /* Nothing of that left a lease behind. */
    lease = lease_of("k");
    IS(HC_ERR_INVALID, hc_lease_put(store, &lease, NULL, 1, NULL, NULL));
    /* What breaks the contract ends the lease all the same. */
    lease = lease_of("k");
    hc_put_options o;
    HC_INIT(&o);
    o.reserved = 1;
    IS(HC_ERR_UNSUPPORTED, hc_lease_put(store, &lease, S("v"), &o, NULL));
    lease = lease_of("k");
    hc_lease_drop(store, &lease, 99, 0);
    CHECK(lease.id == 0 && lease.generation == 0);
    lease = lease_of("k");
    uint64_t version = 0;
    IS(HC_OK, hc_lease_put(store, &lease, S("v"), NULL, &version));
    CHECK(version != 0);
    holds(store, "k", "v");
    down();
}

/* A lease of one store is none of another. */
static void foreign_leases(void) {
    up();
    hc_store *other = make_store(pool);
    hc_lease lease = lease_of("k"), copy = lease;
    IS(HC_CONFLICT, hc_lease_put(other, &copy, S("v"), NULL, NULL));
    IS(HC_OK, hc_lease_put(store, &lease, S("v"), NULL, NULL));
    hc_store_release(other);
    down();
}

static void claims_many(void) {
    up();
    hc_slice keys[5];
    hc_view views[5];
    hc_lease leases[5];
    hc_status statuses[5];
    IS(HC_OK, hc_set(store, S("a"), S("1"), HC_TTL_DEFAULT));
    keys[0] = slice("a");
    keys[1] = slice("b");
    keys[2] = slice("b");
    keys[3].data = NULL;
    keys[3].len = 1;
    keys[4] = slice("c");
    IS(HC_PARTIAL, hc_claim_many(store, keys, 5, HC_CLAIM_STALE, views, leases, statuses));
    IS(HC_OK, statuses[0]);
    CHECK(views[0].len == 1 && memcmp(views[0].data, "1", 1) == 0 && leases[0].generation == 0);
    IS(HC_CLAIMED, statuses[1]);
    IS(HC_TIMEOUT, statuses[2]);
    IS(HC_ERR_INVALID, statuses[3]);
    IS(HC_CLAIMED, statuses[4]);
    CHECK(views[1].data == NULL && leases[2].generation == 0 && leases[3].generation == 0);
    IS(HC_OK, hc_lease_put(store, &leases[1], S("2"), NULL, NULL));
    hc_unpin_many(views, 5);
    for (int i = 0; i < 5; i++) hc_lease_drop(store, &leases[i], HC_DROP_CANCELLED, 0);
    lease_of("c");
    IS(HC_OK, hc_claim_many(store, keys, 2, 0, views, leases, statuses));
    hc_unpin_many(views, 2);
    IS(HC_OK, hc_claim_many(store, NULL, 0, 0, NULL, NULL, NULL));
    IS(HC_ERR_INVALID, hc_claim_many(store, NULL, 1, 0, views, leases, statuses));
    IS(HC_ERR_INVALID, hc_claim_many(store, keys, 1, 0, NULL, leases, statuses));
    IS(HC_ERR_INVALID, hc_claim_many(store, keys, 1, 0, views, NULL, statuses));
    IS(HC_ERR_INVALID, hc_claim_many(store, keys, 1, 0, views, leases, NULL));
    IS(HC_ERR_INVALID, hc_claim_many(NULL, keys, 1, 0, views, leases, statuses));
    IS(HC_ERR_UNSUPPORTED, hc_claim_many(store, keys, 1, 8, views, leases, statuses));
    down();
}

static int readable(int fd) {
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

static void waits_of_a_loop(void) {
    up();
    hc_waits *waits = NULL;
    hc_error err;
    uint64_t left = 0, cookie = 0;
    hc_status outcome;
    hc_view view;
    SAYS(HC_ERR_INVALID, "store", err, hc_waits_open(NULL, &waits, &err));
    SAYS(HC_ERR_INVALID, "out", err, hc_waits_open(store, NULL, &err));
    IS(HC_OK, hc_waits_open(store, &waits, NULL));
    int fd = hc_waits_fd(waits);
    CHECK(fd >= 0 && hc_waits_fd(NULL) == -1);
    IS(HC_ERR_INVALID, hc_waits_add(NULL, S("k"), 1, &left));
    IS(HC_ERR_INVALID, hc_waits_add(waits, NULL, 1, 1, &left));
    IS(HC_NOT_FOUND, hc_waits_add(waits, S("k"), 1, &left));
    IS(HC_ERR_INVALID, hc_waits_next(NULL, &cookie, &outcome, &view));
    IS(HC_ERR_INVALID, hc_waits_next(waits, NULL, &outcome, &view));
    IS(HC_ERR_INVALID, hc_waits_next(waits, &cookie, NULL, &view));
    IS(HC_DONE, hc_waits_next(waits, &cookie, &outcome, &view));

    hc_lease lease = lease_of("k");
    IS(HC_OK, hc_waits_add(waits, S("k"), 7, &left));
    CHECK(left > 0 && left <= 10000 && !readable(fd));
    IS(HC_OK, hc_lease_put(store, &lease, S("v"), NULL, NULL));
    CHECK(readable(fd));
    IS(HC_OK, hc_waits_next(waits, &cookie, &outcome, &view));
    CHECK(cookie == 7 && outcome == HC_DONE && view.data == NULL);
    IS(HC_DONE, hc_waits_next(waits, &cookie, &outcome, &view));
    CHECK(!readable(fd));

    lease = lease_of("l");
    IS(HC_OK, hc_waits_add(waits, S("l"), 8, NULL));
    hc_lease_drop(store, &lease, HC_DROP_FAILED, 0);
    IS(HC_OK, hc_waits_next(waits, &cookie, &outcome, NULL));
    CHECK(cookie == 8 && outcome == HC_LOAD_FAILED);

    lease = lease_of("l");
    IS(HC_OK, hc_waits_add(waits, S("l"), 9, NULL));
    hc_lease_drop(store, &lease, HC_DROP_ABSENT, 0);
    IS(HC_OK, hc_waits_next(waits, &cookie, &outcome, &view));
    CHECK(cookie == 9 && outcome == HC_NOT_FOUND);

    /* A value that the store cannot take is passed on. */
    IS(HC_OK, hc_delete(store, S("k")));
    lease = lease_of("k");
    IS(HC_OK, hc_waits_add(waits, S("k"), 10, NULL));
    IS(HC_OK, hc_waits_add(waits, S("k"), 11, NULL));
    size_t len = 5 * MIB / 2;
    char *large = calloc(len, 1);
    large[len - 1] = 'e';
    IS(HC_ERR_TOO_LARGE, hc_lease_put(store, &lease, large, len, NULL, NULL));
    free(large);
    for (int i = 0; i < 2; i++) {
        IS(HC_OK, hc_waits_next(waits, &cookie, &outcome, &view));
        CHECK(outcome == HC_NOT_ADMITTED || outcome == HC_OK);
        if (outcome == HC_OK) {
            CHECK(view.len == len && view.version == 0 && view.ttl_ms == 0);
            CHECK(((const char *)view.data)[len - 1] == 'e');
        }
        hc_unpin(&view);
    }
    /* Closed with one that waits and one that has ended. */
    lease = lease_of("m");
    IS(HC_OK, hc_waits_add(waits, S("m"), 12, NULL));
    hc_lease other = lease_of("n");
    IS(HC_OK, hc_waits_add(waits, S("n"), 13, NULL));
    hc_lease_drop(store, &other, HC_DROP_FAILED, 0);
    hc_waits_close(waits);
    hc_waits_close(NULL);
    hc_lease_drop(store, &lease, HC_DROP_CANCELLED, 0);
    down();
}

static void a_destroyed_store_claims_nothing(void) {
    up();
    hc_lease lease = lease_of("k");
    hc_view view;
    hc_store_destroy(store);
    IS(HC_ERR_CLOSED, hc_claim(store, S("k"), 0, UINT64_MAX, &view, &lease));
    IS(HC_ERR_CLOSED, hc_lease_put(store, &lease, S("v"), NULL, NULL));
    down();
}

const test leases[] = {
    {"bad_claims", bad_claims},
    {"foreign_leases", foreign_leases},
    {"claims_many", claims_many},
    {"waits_of_a_loop", waits_of_a_loop},
    {"a_destroyed_store_claims_nothing", a_destroyed_store_claims_nothing},
    {NULL, NULL},
};
