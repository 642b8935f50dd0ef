/*
 * hypercache.h - C interface of HyperCache
 *
 * An in-process cache: pools own bytes, stores hold entries inside a pool.
 * This file is the contract. What it does not promise may change.
 *
 * 1. Results     0 is success. Positive is an ordinary outcome (a miss, a full buffer).
 *                Negative is a failure. Outputs are written only when the call's
 *                documentation says so for the status it returned; unless it says otherwise,
 *                for HC_OK. Calls that have much to say take an optional hc_error, filled in
 *                place when they fail: no thread-local state, nothing to free. One that
 *                was not HC_INITed makes the call fail with HC_ERR_INVALID.
 * 2. Ownership   Inputs are borrowed for the call and copied if kept. Whatever a call
 *                hands out has one named call that gives it back; that call accepts NULL.
 *                The library never asks you to free() anything.
 * 3. Threads     No call but hc_pool_pressure is safe in a signal handler.
 *                Pools, stores, views and drafts may be used from any thread, and
 *                pools and stores from many at once. One hc_scan belongs to one thread at
 *                a time. A view may be unpinned on another thread than the one that pinned.
 * 4. Callbacks   Never run with a library lock held. They may call back into the library.
 *                They must return: no longjmp, no exception may cross.
 * 5. Fork        A child made by fork() must not use handles it inherited: calls on them
 *                return HC_ERR_FORKED, and those without a status do nothing. Names start
 *                afresh in the child: create or open pools there, or exec.
 * 6. Faults      A bug caught inside the library returns HC_ERR_INTERNAL and takes the
 *                shard it happened in out of service (HC_ERR_POISONED until hc_clear).
 *                It never unwinds into the caller. Running out of memory is not a fault:
 *                it is HC_ERR_NO_MEMORY or HC_ERR_NO_SPACE, and the store stays sound.
 * 7. Structs     Every struct that may grow starts with `size`. Use HC_INIT. A zero field
 *                means "the default". A smaller struct from an older header is taken as if
 *                the rest were zero. A larger one from a newer header is accepted if the
 *                bytes that this library does not know are zero, else HC_ERR_UNSUPPORTED; so
 *                are `reserved` fields, flags and enumerators. A `size` below that of the
 *                first release (HC_INIT forgotten) is HC_ERR_INVALID. Structs that a call
 *                fills: as much as both sides know, and `size` is set to the bytes filled.
 * 8. Text, time  Strings are UTF-8, NUL-terminated, on every platform. Keys and values are
 *                bytes. Durations are milliseconds on a monotonic clock: setting the wall
 *                clock expires nothing.
 * 9. Pointers    NULL is an error (HC_ERR_INVALID) unless marked [nullable]. A key or value
 *                of length 0 may have a NULL pointer.
 * 10. Unloading  The library stays loaded once loaded and runs nothing at exit. 64-bit only.
 */
#ifndef HYPERCACHE_H
#define HYPERCACHE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if UINTPTR_MAX < UINT64_MAX
#  error "HyperCache needs a 64-bit platform"
#endif

/* ---- Linkage ------------------------------------------------------------------------ */

#if defined(HC_STATIC)
#  define HC_API
#elif defined(_WIN32)
#  define HC_API __declspec(dllimport)
#elif defined(__GNUC__)
#  define HC_API __attribute__((visibility("default")))
#else
#  define HC_API
#endif

#if defined(__GNUC__)
#  define HC_MUST_USE __attribute__((warn_unused_result))
#else
#  define HC_MUST_USE
#endif

/* Zero an extensible struct and stamp its size: hc_store_config c; HC_INIT(&c); */
#define HC_INIT(ptr) \
    (memset((ptr), 0, sizeof *(ptr)), (void)((ptr)->size = sizeof *(ptr)))

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ------------------------------------------------------------------------ */

#define HC_VERSION_MAJOR  0
#define HC_VERSION_MINOR  1
#define HC_VERSION_PATCH  0
/* One byte per part, so that versions compare as integers. */
#define HC_VERSION_NUMBER \
    ((HC_VERSION_MAJOR << 24) | (HC_VERSION_MINOR << 16) | (HC_VERSION_PATCH << 8))

/* The version of the library in use, in the form of HC_VERSION_NUMBER. */
HC_API uint32_t hc_version_number(void);

/* "0.1.0". Static. */
HC_API const char *hc_version_string(void);

/* Version, commit, target and build options on one line, for bug reports. Static. */
HC_API const char *hc_build_info(void);

/* ---- Status ------------------------------------------------------------------------- */

/* Fixed width on purpose: a library may return values newer than this header knows. */
typedef int32_t hc_status;

#define HC_OK              INT32_C(0)
/* Outcomes. */
#define HC_NOT_FOUND       INT32_C(1) /* no live entry under this key */
#define HC_EXISTS          INT32_C(2) /* add: the key already has a live entry */
#define HC_CONFLICT        INT32_C(3) /* the entry's version is not the expected one */
#define HC_NOT_ADMITTED    INT32_C(4) /* the policy declined the entry; nothing is stored */
#define HC_SMALL_BUFFER    INT32_C(5) /* nothing copied; the needed length is reported */
#define HC_DONE            INT32_C(6) /* no more: entries of a scan, waits that have ended */
#define HC_CLAIMED         INT32_C(7) /* a miss, and the caller now holds the lease */
#define HC_TIMEOUT         INT32_C(8) /* the wait ended first */
#define HC_PARTIAL         INT32_C(9) /* some of it was done; the report says how much */
#define HC_WRONG_TYPE      INT32_C(10) /* the entry's type does not allow this; unchanged */
#define HC_OVERFLOW        INT32_C(11) /* the sum does not fit; unchanged */
#define HC_LOAD_FAILED     INT32_C(12) /* the holder of the lease gave up: see hc_lease_drop */
/* Failures. */
#define HC_ERR_INVALID     (-INT32_C(1)) /* an argument breaks this file's contract */
#define HC_ERR_UNSUPPORTED (-INT32_C(2)) /* unknown flag, enumerator, field; not built in */
#define HC_ERR_TOO_LARGE   (-INT32_C(3)) /* the entry could never fit: value or key too long */
#define HC_ERR_NO_SPACE    (-INT32_C(4)) /* the budget is held by pins or raw memory */
#define HC_ERR_NO_MEMORY   (-INT32_C(5)) /* the operating system refused memory */
#define HC_ERR_CLOSED      (-INT32_C(6)) /* the store was destroyed */
#define HC_ERR_FORKED      (-INT32_C(7)) /* the handle belongs to the parent process */
#define HC_ERR_IO          (-INT32_C(8)) /* a file operation failed; see hc_error.os_error */
#define HC_ERR_CORRUPT     (-INT32_C(9)) /* a file fails its checks */
#define HC_ERR_POISONED    (-INT32_C(10)) /* the shard is out of service after a caught fault */
#define HC_ERR_INTERNAL    (-INT32_C(11)) /* a fault was caught in this call; please report it */
#define HC_ERR_DEADLOCK    (-INT32_C(12)) /* the caller would wait for itself */

/* "HC_NOT_FOUND"; "HC_UNKNOWN" for values this library does not know. Static. */
HC_API const char *hc_status_name(hc_status status);

/* Detail of a failure. Declare one, HC_INIT it, pass it; or pass NULL. Nothing to free. */
typedef struct hc_error {
    size_t    size;
    hc_status status;       /* written, like the rest, only on a failure                   */
    int32_t   os_error;     /* errno or GetLastError(), 0 if none                          */
    char      message[240]; /* one English sentence in UTF-8, cut to fit, NUL-terminated   */
} hc_error;

/* ---- Common types ------------------------------------------------------------------- */

typedef struct hc_pool  hc_pool;  /* a byte budget and its memory      */
typedef struct hc_store hc_store; /* entries with a policy, in a pool  */
typedef struct hc_watch hc_watch; /* a registered pressure callback    */
typedef struct hc_scan  hc_scan;  /* a walk over a store               */
typedef struct hc_waits hc_waits; /* waits for leases, without threads */

typedef struct hc_slice {
    const void *data;
    size_t      len;
} hc_slice;

/* In a small pool a key must also fit into one of its segments, which are powers of two near a
 * 1,024th of the limit and at least 16 KiB; else HC_ERR_TOO_LARGE. */
#define HC_KEY_LEN_MAX    UINT32_C(65535)         /* keys are 0..HC_KEY_LEN_MAX bytes  */
#define HC_VALUE_LEN_MAX  UINT64_C(0xFFFFFFFF)
#define HC_POOL_LIMIT_MIN (UINT64_C(1) << 20)
#define HC_TTL_DEFAULT    UINT64_C(0)             /* the store's default               */
#define HC_TTL_KEEP       (UINT64_MAX - 1)        /* what the replaced entry has left  */
#define HC_TTL_NEVER      UINT64_MAX

/* ---- Pools -------------------------------------------------------------------------- */

typedef struct hc_pool_config {
    size_t      size;
    uint64_t    limit_bytes;       /* required. Everything the pool causes to be allocated
                                      is charged: entries, indexes, ghosts               */
    const char *name;              /* [nullable] label in metrics; copied. Only
                                      hc_pool_open makes it findable                      */
    uint32_t    elevated_pct;      /* default 85 */
    uint32_t    high_pct;          /* default 90 */
    uint32_t    critical_pct;      /* default 95 */
    uint32_t    flags;             /* HC_POOL_* */
    uint64_t    pin_limit_bytes;   /* memory that views, drafts and waits may hold back from
                                      reuse; 0: a quarter of the limit. Beyond it:
                                      HC_ERR_NO_SPACE                                      */
    uint64_t    limit_max_bytes;   /* the largest limit it may be given later: layout is
                                      chosen for it, address space reserved. 0: 8 x limit,
                                      but not beyond 32 GiB                                */
} hc_pool_config;

#define HC_POOL_PREFAULT      (UINT32_C(1) << 0)  /* commit all memory now, or fail now */
#define HC_POOL_ZERO_ON_FREE  (UINT32_C(1) << 1)  /* wipe memory before it is reused */
#define HC_POOL_NO_HUGE_PAGES (UINT32_C(1) << 2)  /* do not ask the system for huge pages */
#define HC_POOL_PRESSURE_USED (UINT32_C(1) << 3)  /* levels go by used bytes, not by what is held */

/* Pressure is the share of the limit that eviction could not give back (held_bytes): raw
 * memory, views, drafts, fixed tables. (A healthy cache is full; its used bytes say nothing.
 * A pool without raw memory seldom leaves HC_PRESSURE_NONE.) Levels: compare with <, new ones
 * may appear in between. */
#define HC_PRESSURE_NONE     INT32_C(0)
#define HC_PRESSURE_ELEVATED INT32_C(10)
#define HC_PRESSURE_HIGH     INT32_C(20)
#define HC_PRESSURE_CRITICAL INT32_C(30)

/* Create a pool. On success *out holds one reference. */
HC_API HC_MUST_USE hc_status hc_pool_create(const hc_pool_config *config, hc_pool **out,
                                            hc_error *err /* [nullable] */);

/* The pool of this name in this process, with a new reference: whatever language created it.
 * If there is none and config is given, it is created and registered; if there is one and
 * config disagrees, in a field that is set, with the config that it was created with (not
 * with what was changed since), HC_ERR_INVALID names the field. If there is none and config is
 * NULL: HC_NOT_FOUND. */
HC_API HC_MUST_USE hc_status hc_pool_open(const char *name,
                                          const hc_pool_config *config /* [nullable] */,
                                          hc_pool **out, hc_error *err /* [nullable] */);

/* Add or drop a reference. The memory goes when the last reference, store, view and
 * allocation has gone, in whatever order a garbage collector picks. */
HC_API hc_pool *hc_pool_retain(hc_pool *pool);
HC_API void     hc_pool_release(hc_pool *pool /* [nullable] */);

/* Change the limit. For a smaller one the limit in force follows the used bytes down, step by
 * step, never up, and the call returns when it is reached. HC_PARTIAL: views or allocations
 * still hold more; the rest goes as they are given back (hc_pool_stats.target_bytes).
 * HC_CONFLICT: another call has set another limit meanwhile; the last one holds. Floors of
 * stores do not stand against it. */
HC_API HC_MUST_USE hc_status hc_pool_set_limit(hc_pool *pool, uint64_t limit_bytes,
                                               hc_error *err /* [nullable] */);

/* Change the thresholds; 0 < elevated <= high <= critical <= 100. A level is left two
 * points below where it is entered, so that a level at the edge does not flap. */
HC_API HC_MUST_USE hc_status hc_pool_set_thresholds(hc_pool *pool, uint32_t elevated_pct,
                                                    uint32_t high_pct,
                                                    uint32_t critical_pct);

/* The present level: one atomic load, safe in a signal handler. */
HC_API int32_t hc_pool_pressure(const hc_pool *pool);

/* Wait for a change of level. Pass the sequence last seen (0 at first); it is updated along with
 * *level. HC_TIMEOUT after timeout_ms: neither is written. For languages that prefer their own
 * threads to callbacks. */
HC_API HC_MUST_USE hc_status hc_pool_wait(hc_pool *pool, uint64_t *seq, uint64_t timeout_ms,
                                          int32_t *level);

/* Called on the library's notifier thread, one call at a time per watch. Only changes of
 * level are delivered; if several happen before the call, it sees the latest. */
typedef void (*hc_pressure_fn)(void *ctx, int32_t level, uint64_t used_bytes,
                               uint64_t limit_bytes);
typedef void (*hc_drop_fn)(void *ctx);

/* Register a callback. `drop`, if given, is called once with ctx when the library will
 * not use ctx again, also if the registration itself fails. */
HC_API HC_MUST_USE hc_status hc_pool_watch(hc_pool *pool, hc_pressure_fn fn, void *ctx,
                                           hc_drop_fn drop /* [nullable] */,
                                           hc_watch **out);

/* Unregister. Returns once no call is running, except from inside the callback itself. Do not
 * call it while holding a lock that the callback takes (in Python: release the GIL). */
HC_API void hc_watch_cancel(hc_watch *watch /* [nullable] */);

/* Evict until at most target_bytes are used, or nothing is left that can go; *freed receives the
 * bytes. */
HC_API hc_status hc_pool_trim(hc_pool *pool, uint64_t target_bytes,
                              uint64_t *freed /* [nullable] */);

/* Raw memory under the pool's budget. align: a power of two up to 4096, 0 for 16. NULL if
 * the budget or the system has none. Without HC_ALLOC_EVICT entries are never evicted. */
#define HC_ALLOC_EVICT (UINT32_C(1) << 0)
#define HC_ALLOC_ZERO  (UINT32_C(1) << 1)
HC_API HC_MUST_USE void *hc_pool_alloc(hc_pool *pool, size_t len, size_t align,
                                       uint32_t flags);
/* HC_ERR_INVALID: not a live allocation of this pool (freed twice, or foreign); no harm done.
 * A NULL ptr is HC_OK. */
HC_API hc_status hc_pool_free(hc_pool *pool, void *ptr /* [nullable] */);

typedef struct hc_pool_stats {
    size_t   size;            /* in: sizeof; out: bytes filled                            */
    uint64_t limit_bytes;     /* in force: used_bytes is never above it                   */
    uint64_t target_bytes;    /* asked for; below limit_bytes only while a shrink lasts   */
    uint64_t used_bytes;
    uint64_t peak_bytes;
    uint64_t pinned_bytes;    /* part of used_bytes: held by views, drafts and waits      */
    uint64_t held_bytes;      /* part of used_bytes: what pressure goes by                */
    uint64_t app_bytes;       /* part of used_bytes: hc_pool_alloc                        */
    uint64_t overhead_bytes;  /* part of used_bytes: indexes, ghosts, slack               */
    uint64_t resident_bytes;  /* what the system has committed for this pool              */
    uint64_t huge_bytes;      /* of these, backed by huge pages                           */
    uint64_t stores;
    uint64_t level_changes;
    uint64_t alloc_failures;
    uint64_t alloc_created;   /* hc_pool_alloc: fresh blocks, blocks reused, given back, and
                                 returned to segments; reuse ratio = reused / (created+reused) */
    uint64_t alloc_reused;
    uint64_t alloc_returned;
    uint64_t alloc_discarded;
    int32_t  pressure;
    uint32_t reserved;
} hc_pool_stats;

HC_API HC_MUST_USE hc_status hc_pool_stats_get(hc_pool *pool, hc_pool_stats *stats);

/* The config in force, defaults filled in. Strings stay valid as long as the process. */
HC_API HC_MUST_USE hc_status hc_pool_config_get(hc_pool *pool, hc_pool_config *config);

/* Check every invariant of the pool and of all stores in it: used bytes are the sum of what
 * is charged, no limit is exceeded, indexes and entries agree. HC_ERR_INTERNAL and a message
 * if one is broken. Stops writers shard by shard; for tests and diagnosis. */
HC_API HC_MUST_USE hc_status hc_pool_validate(hc_pool *pool, hc_error *err /* [nullable] */);

/* ---- Stores ------------------------------------------------------------------------- */

/* What is evicted when room is needed; docs/eviction.md says which one is for what. */
#define HC_POLICY_DEFAULT  INT32_C(0)  /* the best we know; may change in a minor release */
#define HC_POLICY_S3FIFO   INT32_C(1)
#define HC_POLICY_SIEVE    INT32_C(2)
#define HC_POLICY_WTINYLFU INT32_C(3)
#define HC_POLICY_LRU      INT32_C(4)
#define HC_POLICY_LFU      INT32_C(5)
#define HC_POLICY_FIFO     INT32_C(6)
#define HC_POLICY_RANDOM   INT32_C(7)
#define HC_POLICY_TTL      INT32_C(8)  /* soonest to expire goes first */
#define HC_POLICY_HYBRID   INT32_C(9)  /* expired first, then recency with a second chance */
#define HC_POLICY_SESSION  INT32_C(10)  /* evicts by session: too old, idle, oldest */
#define HC_POLICY_ADAPTIVE INT32_C(11)  /* two queues whose boundary and admission adapt */

typedef struct hc_store_config {
    size_t      size;
    const char *name;             /* [nullable] unique in the pool, 1 to 255 bytes; copied */
    uint64_t    limit_bytes;      /* 0: only the pool's limit                             */
    uint64_t    limit_entries;    /* 0: none                                              */
    uint64_t    value_len_max;    /* 0: a quarter of the store's limit                    */
    uint64_t    default_ttl_ms;   /* 0 or HC_TTL_NEVER: entries do not expire             */
    uint32_t    shards;           /* at most so many, a power of two; 0: chosen           */
    int32_t     policy;           /* HC_POLICY_*                                          */
    const char *policy_options;   /* [nullable] "small=10,ghost=100"; unknown: an error   */
    double      filter_fpr;       /* 0: no filter before the index; else the share of keys it
                                     may err for, 1e-9 to 0.1. Asked while most look-ups miss
                                     an index too large for the caches; see docs/filter.md */
    uint64_t    hash_seed;        /* 0: random. Fixed seeds are for tests and replays     */
    uint64_t    floor_bytes;      /* other stores of the pool cannot push it below this; it
                                     protects and reserves nothing. Floors that the limit
                                     cannot hold together: HC_ERR_INVALID                 */
    uint32_t    flags;            /* HC_STORE_*                                           */
    uint32_t    jitter_pct;       /* 0: none; TTLs are shortened by up to this share      */
    uint64_t    soft_ttl_ms;      /* 0: none; then claims have one caller load it anew    */
    uint64_t    idle_ttl_ms;      /* 0: none; expire so long after the last access        */
    uint64_t    stale_if_error_ms;/* 0: none; keep an old value on after a failed load    */
    uint64_t    negative_ttl_ms;  /* 0: 1,000; how long a key is known to be absent       */
    uint64_t    lease_ms;         /* 0: 10,000; at most a day (86,400,000); then another
                                     caller may load                                      */
    uint32_t    negative_pct;     /* 0: 5; share of the limit that absent keys may take   */
    uint32_t    reserved;
} hc_store_config;

#define HC_STORE_LATENCY  (UINT32_C(1) << 0)  /* measure latencies (hc_store_latency_get) */
#define HC_STORE_NO_EARLY (UINT32_C(1) << 1)  /* claims load nothing anew before its time */

/* Open a store in a pool, which it keeps alive. If config names a store that is open in this
 * pool, that store with a new reference; HC_ERR_INVALID names a set field that disagrees with
 * the config it was created with. On success *out holds one reference. */
HC_API HC_MUST_USE hc_status hc_store_open(hc_pool *pool, const hc_store_config *config,
                                           hc_store **out, hc_error *err /* [nullable] */);

/* Drop all entries and refuse further use (HC_ERR_CLOSED) through every reference. Views
 * already pinned stay readable. Idempotent; releases nothing. The last release does the same. */
HC_API void hc_store_destroy(hc_store *store);

/* The open store of this name in this pool, with a new reference, or HC_NOT_FOUND. */
HC_API HC_MUST_USE hc_status hc_store_find(hc_pool *pool, const char *name, hc_store **out);

HC_API hc_store *hc_store_retain(hc_store *store);
HC_API void      hc_store_release(hc_store *store /* [nullable] */);

/* Change the store's limit, 0: only the pool's. */
HC_API HC_MUST_USE hc_status hc_store_set_limit(hc_store *store, uint64_t limit_bytes);

/* The config in force, defaults filled in. Strings stay valid as long as the process. */
HC_API HC_MUST_USE hc_status hc_store_config_get(hc_store *store, hc_store_config *config);

/* hc_pool_validate for one store. */
HC_API HC_MUST_USE hc_status hc_store_validate(hc_store *store, hc_error *err /* [nullable] */);

/* ---- Reading ------------------------------------------------------------------------ */

/* A pinned entry: 64 bytes, on the caller's stack. data is never NULL and does not change
 * while pinned, whatever happens to the key. A large value is held where it is, with the
 * memory around it; a small one (up to 4 KiB) is held as a copy of its own. Both stay charged
 * to the pool (pinned_bytes) and count against its pin limit. */
typedef struct hc_view {
    const void *data;
    size_t      len;
    uint64_t    version;  /* equal: the same value; a write changes it */
    uint64_t    ttl_ms;   /* left when pinned; HC_TTL_NEVER if none    */
    uint64_t    session;
    uint32_t    type;     /* HC_TYPE_* or the application's (0 to 255) */
    uint32_t    flags;    /* the application's flags                   */
    void       *pin;      /* the library's; do not touch               */
    uint64_t    reserved;
} hc_view;

#define HC_PEEK (UINT32_C(1) << 0)  /* count no hit, leave the policy untouched */

/* What a value is, so that one language can read what another wrote. The store attaches no
 * meaning to it, except that hc_incr works on HC_TYPE_INT64. */
#define HC_TYPE_BYTES   UINT32_C(0)
#define HC_TYPE_STRING  UINT32_C(1)  /* UTF-8                                  */
#define HC_TYPE_INT64   UINT32_C(2)  /* 8 bytes, little-endian                 */
#define HC_TYPE_FLOAT64 UINT32_C(3)  /* 8 bytes, little-endian                 */
#define HC_TYPE_BOOL    UINT32_C(4)  /* 1 byte, 0 or 1                         */
#define HC_TYPE_NULL    UINT32_C(5)  /* 0 bytes                                */
#define HC_TYPE_JSON    UINT32_C(6)
#define HC_TYPE_MSGPACK UINT32_C(7)
#define HC_TYPE_PICKLE  UINT32_C(64)  /* 64 to 127: one language's own encoding */
#define HC_TYPE_V8      UINT32_C(65)
#define HC_TYPE_APP     UINT32_C(128)  /* 128 to 255: the application's          */

/* An entry's metadata, for reads that copy. */
typedef struct hc_info {
    size_t   len;      /* of the value, copied or not            */
    uint64_t version;
    uint64_t ttl_ms;   /* left; HC_TTL_NEVER if none             */
    uint64_t session;
    uint32_t type;
    uint32_t flags;
    uint64_t reserved[2];
} hc_info;

/* Copy a value out. HC_OK: *len bytes are in buf. HC_SMALL_BUFFER: *len is what it takes
 * and buf is untouched. buf may be NULL when cap is 0. */
HC_API HC_MUST_USE hc_status hc_get(hc_store *store, const void *key, size_t key_len,
                                    void *buf, size_t cap, size_t *len);

/* hc_get with the entry's metadata; *info is written for HC_OK and HC_SMALL_BUFFER. */
HC_API HC_MUST_USE hc_status hc_get_info(hc_store *store, const void *key, size_t key_len,
                                         uint32_t flags, void *buf, size_t cap,
                                         hc_info *info);

/* Pin an entry, large values without copying. On HC_OK the view must be unpinned, once. */
HC_API HC_MUST_USE hc_status hc_pin(hc_store *store, const void *key, size_t key_len,
                                    uint32_t flags, hc_view *out);

/* Give a view back and clear it. A cleared view may be unpinned again to no effect; a copy of
 * a view must not be unpinned beside it. */
HC_API void hc_unpin(hc_view *view /* [nullable] */);

/* Copy n values out, one after another, into buf; keys are looked up together, so that
 * their memory accesses overlap. statuses[i] is what hc_get would return; values[i] points
 * into buf where it is HC_OK, and is {NULL, needed length} where it is HC_SMALL_BUFFER.
 * Values are taken in order as long as they fit; after one that does not, later smaller ones
 * still are. types receives the type of each value copied. HC_OK if all n were hits, else
 * HC_PARTIAL. When the store itself fails (HC_ERR_CLOSED, ...), that status is returned and is
 * also the status of every key that it kept from being looked up; so it is in all batches. */
HC_API HC_MUST_USE hc_status hc_get_many(hc_store *store, const hc_slice *keys, size_t n,
                                         uint32_t flags, void *buf, size_t cap,
                                         hc_slice *values,
                                         uint32_t *types /* [nullable] */,
                                         hc_status *statuses);

/* HC_OK or HC_NOT_FOUND, exactly. Counts no hit. */
HC_API HC_MUST_USE hc_status hc_contains(hc_store *store, const void *key, size_t key_len);

/* HC_OK: present here, or maybe in the backing source. HC_NOT_FOUND: certainly in neither, by the
 * known keys of the source (hc_store_set_known_keys); without them HC_OK for every key. Counts no
 * hit. */
HC_API HC_MUST_USE hc_status hc_may_exist(hc_store *store, const void *key, size_t key_len);

/* hc_get and hc_delete in one step: of several callers one gets the value. HC_SMALL_BUFFER:
 * the entry stays. */
HC_API HC_MUST_USE hc_status hc_take(hc_store *store, const void *key, size_t key_len,
                                     void *buf, size_t cap, hc_info *info);

/* Restart an entry's time to live (HC_TTL_KEEP: only count an access). The value stays; the
 * version may change. HC_OK or HC_NOT_FOUND. */
HC_API hc_status hc_touch(hc_store *store, const void *key, size_t key_len,
                          uint64_t ttl_ms);

/* Pin n keys. statuses[i] is what hc_pin would return; views[i] is set where it is HC_OK and
 * cleared elsewhere, so unpinning all n is right. HC_OK if all n were hits, else HC_PARTIAL. */
HC_API HC_MUST_USE hc_status hc_pin_many(hc_store *store, const hc_slice *keys, size_t n,
                                         uint32_t flags, hc_view *views,
                                         hc_status *statuses);
HC_API void hc_unpin_many(hc_view *views /* [nullable] */, size_t n);

/* ---- Writing ------------------------------------------------------------------------ */

/* One rule for all writes: when a write of a key returns HC_OK, HC_NOT_ADMITTED,
 * HC_ERR_TOO_LARGE, HC_ERR_NO_SPACE, HC_ERR_NO_MEMORY or HC_ERR_INTERNAL, the value it meant
 * to replace can no longer be read (with HC_ERR_POISONED nothing in that shard can). A cache
 * may forget; it must not serve what it was told is old. */

#define HC_PUT_SET     INT32_C(0)
#define HC_PUT_ADD     INT32_C(1)  /* only if absent;  else HC_EXISTS                         */
#define HC_PUT_REPLACE INT32_C(2)  /* only if present; else HC_NOT_FOUND                      */
#define HC_PUT_CAS     INT32_C(3)  /* only if at expected_version; else HC_CONFLICT/NOT_FOUND */
/* A version may also change when the store moves an entry: HC_CONFLICT means read again. */

typedef struct hc_put_options {
    size_t   size;
    uint64_t ttl_ms;            /* HC_TTL_DEFAULT, _KEEP, _NEVER or a duration */
    uint64_t expected_version;  /* for HC_PUT_CAS                             */
    uint64_t session;           /* 0: none                                    */
    uint64_t soft_ttl_ms;       /* 0: the store's                             */
    uint64_t idle_ttl_ms;       /* 0: the store's; at most 2^32 - 1           */
    int32_t  mode;              /* HC_PUT_*                                   */
    uint32_t type;              /* HC_TYPE_* or the application's, up to 255  */
    uint32_t flags;
    uint32_t reserved;
} hc_put_options;

/* Store a copy. val may be NULL when val_len is 0. */
HC_API HC_MUST_USE hc_status hc_set(hc_store *store, const void *key, size_t key_len,
                                    const void *val, size_t val_len, uint64_t ttl_ms);

/* hc_set with everything. *version receives the new version on HC_OK. */
HC_API HC_MUST_USE hc_status hc_put(hc_store *store, const void *key, size_t key_len,
                                    const void *val, size_t val_len,
                                    const hc_put_options *options /* [nullable] */,
                                    uint64_t *version /* [nullable] */);

typedef struct hc_entry {
    hc_slice key;
    hc_slice value;
    uint64_t ttl_ms;            /* HC_TTL_DEFAULT: the options', else the store's */
    uint64_t expected_version;
    uint64_t session;
    uint64_t soft_ttl_ms;       /* 0: the store's                                */
    uint64_t idle_ttl_ms;       /* 0: the store's; at most 2^32 - 1              */
    uint32_t type;
    uint32_t flags;
} hc_entry;

/* Store n entries, each on its own: not one transaction. The mode, and the default TTL, come
 * from the options, the rest from the entries. HC_PARTIAL if any was not stored; statuses says
 * which. */
HC_API HC_MUST_USE hc_status hc_put_many(hc_store *store, const hc_entry *entries, size_t n,
                                         const hc_put_options *options /* [nullable] */,
                                         hc_status *statuses /* [nullable] */);

/* Add delta to an HC_TYPE_INT64 value, atomically, and return the sum in *value. An absent
 * key becomes `initial`, delta not added, with ttl_ms; a present one keeps its time to live.
 * HC_WRONG_TYPE and HC_OVERFLOW leave it unchanged. */
HC_API HC_MUST_USE hc_status hc_incr(hc_store *store, const void *key, size_t key_len,
                                     int64_t delta, int64_t initial, uint64_t ttl_ms,
                                     int64_t *value);

/* HC_OK or HC_NOT_FOUND; hc_delete_if also HC_CONFLICT. */
HC_API hc_status hc_delete(hc_store *store, const void *key, size_t key_len);
HC_API hc_status hc_delete_if(hc_store *store, const void *key, size_t key_len,
                              uint64_t expected_version);

/* Delete n keys; *deleted receives how many were there. A key that breaks the contract is
 * HC_ERR_INVALID, and none is deleted. */
HC_API hc_status hc_delete_many(hc_store *store, const hc_slice *keys, size_t n,
                                uint64_t *deleted /* [nullable] */);

/* Write a value in place: room first, bytes by the caller, then publish. Until hc_commit
 * nobody sees the entry and the key's present value stays; a failed hc_reserve removes it
 * where the mode is SET or REPLACE. Mode and expected version are judged by hc_commit, which
 * ends and clears the draft whatever it returns; a draft that has ended is HC_ERR_INVALID to
 * hc_commit and nothing to hc_abandon. Drafts count against pin_limit_bytes. */
typedef struct hc_draft {
    void    *data;
    size_t   len;
    uint64_t slot[2];  /* the library's; do not touch */
} hc_draft;

HC_API HC_MUST_USE hc_status hc_reserve(hc_store *store, const void *key, size_t key_len,
                                        size_t val_len,
                                        const hc_put_options *options /* [nullable] */,
                                        hc_draft *out);
HC_API HC_MUST_USE hc_status hc_commit(hc_draft *draft, uint64_t *version /* [nullable] */);
HC_API void                  hc_abandon(hc_draft *draft /* [nullable] */);

/* ---- Read-through ------------------------------------------------------------------- */

/* The primitive under every loader, in any language: of all callers that miss a key, one
 * gets the lease and loads it; the others wait for it, or go on without. No callback.
 *
 *   HC_OK           *view is pinned (with HC_CLAIM_STALE it may have ttl_ms == 0: expired)
 *   HC_CLAIMED      *lease is the caller's; end it with hc_lease_put or hc_lease_drop
 *   HC_TIMEOUT      another caller holds the lease and timeout_ms has passed (0: at once;
 *                   UINT64_MAX: never)
 *   HC_NOT_FOUND    known to be absent in the source (hc_lease_drop, known keys)
 *   HC_LOAD_FAILED  the holder failed, now or less than its retry_ms ago
 *   HC_NOT_ADMITTED the holder's value was declined and could not even be passed on
 *   HC_ERR_DEADLOCK it would have to wait for a lease that this thread took
 *
 * *view is written for HC_OK only, *lease for HC_CLAIMED only. Whoever waits when the lease ends
 * otherwise (a value was stored; the key was written or invalidated) looks again: a hit, or a
 * new lease. A lease ends by itself lease_ms after it was granted; then another caller gets one.
 * After a fault that was caught under the lock (HC_ERR_POISONED) all who wait are told at once.
 * It may end earlier when more keys are being loaded at once than the store keeps leases for.
 * A lease is a value, not memory: using one that has ended is HC_CONFLICT, never undefined. */
typedef struct hc_lease {
    uint64_t id;
    uint64_t generation;
} hc_lease;

#define HC_CLAIM_STALE (UINT32_C(1) << 1)  /* while one caller reloads, others get the old value */
HC_API HC_MUST_USE hc_status hc_claim(hc_store *store, const void *key, size_t key_len,
                                      uint32_t flags, uint64_t timeout_ms, hc_view *view,
                                      hc_lease *lease);

/* hc_claim that copies instead of pinning (HC_SMALL_BUFFER as in hc_get; a declined value that
 * was passed on is lost by it). */
HC_API HC_MUST_USE hc_status hc_get_or_claim(hc_store *store, const void *key,
                                             size_t key_len, uint32_t flags,
                                             uint64_t timeout_ms, void *buf, size_t cap,
                                             hc_info *info, hc_lease *lease);

/* hc_claim of n keys without waiting. statuses[i] is what hc_claim would return; views[i] and
 * leases[i] are set or cleared, so unpinning all n is right, and so is dropping all n leases. Of
 * a key that is there twice, the second is HC_TIMEOUT. HC_OK if all n were hits, else HC_PARTIAL. */
HC_API HC_MUST_USE hc_status hc_claim_many(hc_store *store, const hc_slice *keys, size_t n,
                                           uint32_t flags, hc_view *views, hc_lease *leases,
                                           hc_status *statuses);

/* Store the loaded value, wake the waiters, end and clear the lease, whatever is returned.
 * HC_CONFLICT, with nothing stored: the key was written or invalidated since, so the load is
 * already old, or the lease was over. A value that was declined or could not be stored still
 * reaches those who wait now, if room for a copy can be had: as a view of version 0 with
 * ttl_ms == 0. The mode in the options must be HC_PUT_SET. */
HC_API HC_MUST_USE hc_status hc_lease_put(hc_store *store, hc_lease *lease, const void *val,
                                          size_t val_len,
                                          const hc_put_options *options /* [nullable] */,
                                          uint64_t *version /* [nullable] */);

#define HC_DROP_CANCELLED INT32_C(0) /* one of those who wait gets the lease */
#define HC_DROP_FAILED    INT32_C(1) /* waiters, and claims for retry_ms, get HC_LOAD_FAILED */
#define HC_DROP_ABSENT    INT32_C(2) /* not in the source: the old value goes; waiters, and claims
                                        for retry_ms (0: negative_ttl_ms), get HC_NOT_FOUND */

/* End the lease without a value, and clear it. On a lease that has ended it does nothing. */
HC_API void hc_lease_drop(hc_store *store, hc_lease *lease /* [nullable] */, int32_t reason,
                          uint64_t retry_ms);

/* Waiting without a thread, for event loops: one descriptor for any number of waits. A claim
 * with timeout 0 that returns HC_TIMEOUT is followed by hc_waits_add; when the descriptor is
 * readable, hc_waits_next names the claims to take up again. Hold the store as long. A wait takes
 * about 100 bytes of the pool, which count against pin_limit_bytes. */
HC_API HC_MUST_USE hc_status hc_waits_open(hc_store *store, hc_waits **out,
                                           hc_error *err /* [nullable] */);

/* The descriptor, for poll, epoll and what is built on them: readable while hc_waits_next has
 * something to tell. It belongs to the waits: do not read, write or close it. -1 for NULL. */
HC_API int32_t hc_waits_fd(hc_waits *waits);

/* Wait for the end of the lease that somebody holds on a key; the cookie will be told once.
 * HC_OK: *left_ms [nullable] is how long the lease lasts at most. Nobody watches that time: set
 * a timer, and claim the key again then. HC_NOT_FOUND: nobody holds a lease (any more): claim
 * again now. HC_ERR_NO_SPACE: no room for another wait. */
HC_API HC_MUST_USE hc_status hc_waits_add(hc_waits *waits, const void *key, size_t key_len,
                                          uint64_t cookie, uint64_t *left_ms);

/* HC_OK or HC_DONE, without waiting. *outcome is what the claim has come to: HC_DONE: claim the
 * key again; HC_LOAD_FAILED, HC_NOT_FOUND, HC_NOT_ADMITTED as from hc_claim; HC_OK: *view is the
 * value, pinned. view is [nullable] (then a value that was passed on is lost: claim again), and
 * cleared for every other outcome. Call it until HC_DONE. The outcome is that of the moment when
 * the lease ended: a caller that has written the key since knows better. */
HC_API HC_MUST_USE hc_status hc_waits_next(hc_waits *waits, uint64_t *cookie,
                                           hc_status *outcome, hc_view *view);

/* Forget all waits and close the descriptor. Take it out of the event loop first. */
HC_API void hc_waits_close(hc_waits *waits /* [nullable] */);

/* ---- Many entries at once ----------------------------------------------------------- */

#define HC_MATCH_ALL     INT32_C(0)
#define HC_MATCH_PREFIX  INT32_C(1)  /* pattern: bytes */
#define HC_MATCH_GLOB    INT32_C(2)  /* pattern: bytes; '*' any run, '?' one byte, '\' quotes */
#define HC_MATCH_SESSION INT32_C(3)  /* entries of this session; O(1) with HC_POLICY_SESSION */
#define HC_MATCH_TYPE    INT32_C(4)

typedef struct hc_match {
    size_t   size;
    hc_slice pattern;
    uint64_t session;
    uint32_t type;
    int32_t  kind;   /* HC_MATCH_* */
} hc_match;

/* Remove what matches. Visits the whole store, shard by shard, in steps that do not block readers
 * for long. Entries written meanwhile may survive; entries that matched before the call do not. */
HC_API HC_MUST_USE hc_status hc_invalidate(hc_store *store, const hc_match *match,
                                           uint64_t *removed /* [nullable] */);

/* Remove everything and put poisoned shards back in service. */
HC_API hc_status hc_clear(hc_store *store);

/* Walk the entries. Each one that is present throughout is seen exactly once, however the
 * store grows, shrinks or moves it meanwhile; one that is written or removed meanwhile may or
 * may not be. Order is unspecified. Counts no hits. */
HC_API HC_MUST_USE hc_status hc_scan_open(hc_store *store,
                                          const hc_match *match /* [nullable: all] */,
                                          hc_scan **out);

/* HC_OK or HC_DONE. *key stays valid until the next call on this scan; *view is pinned and must
 * be unpinned. */
HC_API HC_MUST_USE hc_status hc_scan_next(hc_scan *scan, hc_slice *key,
                                          hc_view *view /* [nullable] */);
HC_API void                  hc_scan_close(hc_scan *scan /* [nullable] */);

/* ---- Cuckoo filter ------------------------------------------------------------------ */

/* Approximate membership with deletion. Never a false negative: hc_filter_contains answers
 * HC_NOT_FOUND only for keys that were not added, or removed as often as added. An add takes a
 * slot, also of a key that is there already, so the capacity counts adds; seven of one key are
 * counted, and one that is added eight times or more may stay for good. Removing a key that was
 * never added may remove another one's trace: do not. Beyond its capacity a filter grows, in steps
 * that no call waits for, and its false-positive rate may double.
 *
 * When an add finds no room, and no memory to grow into, the filter is saturated: it answers
 * "maybe" for every key, and removes change nothing, until it is cleared. Filters may be used from
 * many threads at once; hc_filter_contains takes no lock. */
typedef struct hc_filter hc_filter; /* what a set certainly does not contain */

typedef struct hc_filter_config {
    size_t   size;
    uint64_t capacity;        /* required: adds expected to be in it at a time             */
    double   fpr;             /* 0: 0.001. At most 0.1, at least 1e-9                      */
    hc_pool *pool;            /* [nullable] charge its memory to this pool, which it keeps
                                 alive; entries are evicted for it                         */
    uint64_t hash_seed;       /* 0: random                                                 */
    uint32_t flags;           /* must be 0                                                 */
    uint32_t reserved;
} hc_filter_config;

/* Create a filter. On success *out holds one reference. */
HC_API HC_MUST_USE hc_status hc_filter_create(const hc_filter_config *config,
                                              hc_filter **out,
                                              hc_error *err /* [nullable] */);

/* Add or drop a reference. The filter goes with the last one. */
HC_API hc_filter *hc_filter_retain(hc_filter *filter);
HC_API void       hc_filter_release(hc_filter *filter /* [nullable] */);

/* HC_OK, or HC_ERR_NO_SPACE / HC_ERR_NO_MEMORY: then the filter is saturated, and the key answers
 * "maybe" as all do. */
HC_API HC_MUST_USE hc_status hc_filter_add(hc_filter *filter, const void *key, size_t key_len);

/* HC_OK: maybe. HC_NOT_FOUND: certainly not. A negative status is no answer: take it for maybe. */
HC_API HC_MUST_USE hc_status hc_filter_contains(hc_filter *filter, const void *key,
                                                size_t key_len);

/* The same for n keys, each with a status of its own, at several times the rate: their memory is
 * asked for together. HC_OK if all are HC_OK, else HC_PARTIAL. */
HC_API HC_MUST_USE hc_status hc_filter_contains_many(hc_filter *filter, const hc_slice *keys,
                                                     size_t n, hc_status *statuses);

/* Remove a key that was added. HC_NOT_FOUND: no such trace is there. */
HC_API hc_status hc_filter_remove(hc_filter *filter, const void *key, size_t key_len);

/* Forget all keys; ends saturation. What the filter has grown to it keeps. */
HC_API hc_status hc_filter_clear(hc_filter *filter);

typedef struct hc_filter_stats {
    size_t   size;            /* in: sizeof; out: bytes filled                             */
    uint64_t keys;            /* traces in it: adds that were not taken back               */
    uint64_t capacity;        /* with what it has grown by                                 */
    uint64_t bytes;           /* of its tables; charged to the page, and some KiB more     */
    uint64_t adds;            /* counters since it was made or loaded                      */
    uint64_t add_failures;
    uint64_t lookups;
    uint64_t removes;
    uint64_t remove_failures; /* of keys without a trace, or of a saturated filter         */
    uint64_t kicks;           /* traces moved to make room                                 */
    uint64_t longest_kick_chain;
    uint64_t resizes;         /* times it grew                                             */
    uint64_t positives;       /* look-ups answered "maybe"                                 */
    double   load_factor;
    double   fpr_theoretical;
    double   fpr_sampled;     /* measured just now, on some thousand random keys           */
    uint32_t saturated;       /* 1: answers "maybe" always, until cleared                  */
    uint32_t reserved;
} hc_filter_stats;
HC_API HC_MUST_USE hc_status hc_filter_stats_get(hc_filter *filter, hc_filter_stats *stats);

/* Check every invariant; adds and removes wait. HC_ERR_INTERNAL says what is broken. */
HC_API HC_MUST_USE hc_status hc_filter_validate(hc_filter *filter,
                                                hc_error *err /* [nullable] */);

/* Save to a file, written beside it and renamed over it: the path names the old file or the whole
 * new one. Adds and removes wait meanwhile. HC_ERR_IO. */
HC_API HC_MUST_USE hc_status hc_filter_save(hc_filter *filter, const char *path,
                                            hc_error *err /* [nullable] */);

/* Load what was saved. Of config, the pool is used; capacity, fpr and hash_seed may be 0, and
 * HC_ERR_INVALID names one that is set and is not the file's. HC_ERR_IO; HC_ERR_CORRUPT: the file
 * is not one that was saved, whole and unchanged. */
HC_API HC_MUST_USE hc_status hc_filter_load(const char *path,
                                            const hc_filter_config *config /* [nullable] */,
                                            hc_filter **out, hc_error *err /* [nullable] */);

/* Give a store the key set of its backing source: what the filter excludes is certainly absent
 * there (hc_may_exist). Add a key before it is written to the source, remove it after it is gone
 * from there. The filter may be of any pool or none, and serve several stores. The store keeps a
 * reference until another filter, or NULL for none, takes its place or the store is destroyed; it
 * waits for look-ups that began before, so that the former filter is out of use on return. */
HC_API hc_status hc_store_set_known_keys(hc_store *store, hc_filter *filter /* [nullable] */);

/* ---- Watching it work --------------------------------------------------------------- */

typedef struct hc_store_stats {
    size_t   size;            /* in: sizeof; out: bytes filled            */
    uint64_t entries;         /* gauges                                   */
    uint64_t payload_bytes;   /* keys and values of live entries          */
    uint64_t dead_bytes;      /* in the log, not yet reclaimed            */
    uint64_t waiting_bytes;   /* emptied, held back by a reader or a view */
    uint64_t used_bytes;
    uint64_t limit_bytes;
    uint64_t pinned_bytes;
    uint64_t hits;            /* counters: never fall, never reset        */
    uint64_t misses;
    uint64_t stale_hits;
    uint64_t inserts;
    uint64_t updates;
    uint64_t deletes;
    uint64_t invalidated;
    uint64_t evicted;
    uint64_t evicted_bytes;
    uint64_t expired;
    uint64_t not_admitted;
    uint64_t rejected;        /* too large, no space, no memory           */
    uint64_t written_bytes;   /* to the log by writes                     */
    uint64_t moved_bytes;     /* to the log by reclaim                    */
    uint64_t filter_skips;    /* misses that a filter answered            */
    uint64_t leases;          /* given out                                */
    uint64_t lease_waits;     /* times that somebody waited for another's */
    uint64_t sessions;        /* with HC_POLICY_SESSION: live             */
    uint64_t sessions_idle;   /* of these                                 */
    uint64_t sessions_expired; /* too old                                 */
    uint64_t sessions_ended;  /* for room                                 */
    uint64_t faults;          /* caught bugs; alert on any                */
    uint32_t poisoned_shards;
    uint32_t reserved;
} hc_store_stats;

/* The counters are read one by one, not as one instant. */
HC_API HC_MUST_USE hc_status hc_store_stats_get(hc_store *store, hc_store_stats *stats);

#define HC_OP_GET    INT32_C(0)
#define HC_OP_SET    INT32_C(1)
#define HC_OP_DELETE INT32_C(2)

/* Latencies in nanoseconds since the store was opened with HC_STORE_LATENCY; HC_NOT_FOUND if it
 * was opened without. */
typedef struct hc_latency {
    size_t   size;            /* in: sizeof; out: bytes filled            */
    uint64_t count;
    uint64_t min_ns;
    uint64_t mean_ns;
    uint64_t p50_ns;
    uint64_t p90_ns;
    uint64_t p99_ns;
    uint64_t p999_ns;
    uint64_t max_ns;
} hc_latency;
HC_API HC_MUST_USE hc_status hc_store_latency_get(hc_store *store, int32_t op,
                                                  hc_latency *out);

/* All pools and stores in Prometheus text format 0.0.4, *len bytes, without a NUL. Buffer rules
 * as in hc_get. The text may be longer the next time: ask again on HC_SMALL_BUFFER. */
HC_API HC_MUST_USE hc_status hc_metrics_text(char *buf, size_t cap, size_t *len);

/* Where the library reports faults and warnings. Silent by default: it never writes to
 * stderr. fn may be called on any thread until replaced; the call that replaces it, which
 * must not come from inside fn, returns once no call of the old one is running. drop, if given,
 * is called once with ctx when the library will not use ctx again. fn NULL, or a max_severity
 * below HC_LOG_ERROR: silence. */
typedef void (*hc_log_fn)(void *ctx, int32_t severity, const char *message);
#define HC_LOG_ERROR INT32_C(1)
#define HC_LOG_WARN  INT32_C(2)
#define HC_LOG_INFO  INT32_C(3)
HC_API void hc_set_logger(hc_log_fn fn /* [nullable] */, void *ctx,
                          hc_drop_fn drop /* [nullable] */, int32_t max_severity);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* HYPERCACHE_H */
