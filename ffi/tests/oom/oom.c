/* The n-th allocation of the process's heap fails, alone or with all that follow, for every n of
 * every call that allocates: a status comes back, nothing is lost, nothing ends the process. The
 * first look-up of a thread, the first watch and a lock that is fought for are no exceptions.
 *
 * The C library's allocator is taken over here, which is glibc's way and no other's. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <hypercache.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t align, size_t size);

static long allowed = -1; /* allocations until one fails; below 0: none does */
static long asked;
static int ever_after;

static int fails(void) {
    asked++;
    if (allowed < 0) return 0;
    if (allowed > 0) {
        allowed--;
        return 0;
    }
    if (!ever_after) allowed = -1;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : __libc_calloc(n, size); }
void *realloc(void *block, size_t size) { return fails() ? NULL : __libc_realloc(block, size); }
void *aligned_alloc(size_t align, size_t size) {
    return fails() ? NULL : __libc_memalign(align, size);
}
int posix_memalign(void **out, size_t align, size_t size) {
    if (fails()) return ENOMEM;
    *out = __libc_memalign(align, size);
    return *out ? 0 : ENOMEM;
}

/* Where glibc notes that a thread has something to destroy at its end. It ends the process when it
 * has no memory for the note, so nothing may be noted on behalf of the library. */
static int noted;
int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *library);
int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *library) {
    (void)destroy, (void)object, (void)library;
    __atomic_fetch_add(&noted, 1, __ATOMIC_RELAXED);
    return 0;
}

static hc_pool *pool;
static hc_store *store;

/* Each makes its call, gives back what it got, and returns its status; what the call should
 * refuse counts as HC_OK. */

static hc_status pool_create(void) {
    hc_pool_config c;
    hc_pool *made = NULL;
    HC_INIT(&c);
    c.limit_bytes = 4 << 20;
    c.name = "made";
    hc_status s = hc_pool_create(&c, &made, NULL);
    hc_pool_release(made);
    return s;
}

static hc_status pool_open(void) {
    hc_pool_config c;
    hc_pool *made = NULL;
    HC_INIT(&c);
    c.limit_bytes = 4 << 20;
    hc_status s = hc_pool_open("opened", &c, &made, NULL);
    hc_pool_release(made);
    return s;
}

static hc_status refused_config(void) {
    hc_pool_config c;
    hc_pool *made = NULL;
    hc_error err;
    HC_INIT(&c);
    HC_INIT(&err);
    c.limit_bytes = 4;
    hc_status s = hc_pool_create(&c, &made, &err);
    return s == HC_ERR_INVALID && err.message[0] ? HC_OK : s;
}

static hc_status refused_key(void) {
    static char key[HC_KEY_LEN_MAX + 1];
    hc_status s = hc_set(store, key, sizeof key, "v", 1, HC_TTL_DEFAULT);
    return s == HC_ERR_INVALID ? HC_OK : s;
}

static hc_status store_open(void) {
    hc_store_config c;
    hc_store *made = NULL;
    HC_INIT(&c);
    c.name = "made";
    c.policy = HC_POLICY_S3FIFO;
    c.policy_options = "small=10";
    c.flags = HC_STORE_LATENCY;
    hc_status s = hc_store_open(pool, &c, &made, NULL);
    hc_store_release(made);
    return s;
}

static hc_status store_find(void) {
    hc_store *found = NULL;
    hc_status s = hc_store_find(pool, "store", &found);
    hc_store_release(found);
    return s;
}

static hc_status set(void) { return hc_set(store, "new", 3, "v", 1, HC_TTL_DEFAULT); }
static hc_status set_large(void) {
    static char value[300000];
    return hc_set(store, "large", 5, value, sizeof value, HC_TTL_DEFAULT);
}

static hc_status get(void) {
    char buf[8];
    size_t len;
    return hc_get(store, "k", 1, buf, sizeof buf, &len);
}

static hc_status pin(void) {
    hc_view view;
    hc_status s = hc_pin(store, "k", 1, 0, &view);
    if (s == HC_OK) hc_unpin(&view);
    return s;
}

static hc_status get_many(void) {
    hc_slice keys[40], values[40];
    hc_status statuses[40];
    char buf[200];
    for (int i = 0; i < 40; i++) keys[i].data = "k", keys[i].len = 1;
    return hc_get_many(store, keys, 40, 0, buf, sizeof buf, values, NULL, statuses);
}

static hc_status put_many(void) {
    static hc_entry entries[40];
    for (int i = 0; i < 40; i++) {
        entries[i].key.data = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";
        entries[i].key.len = (size_t)i;
    }
    return hc_put_many(store, entries, 40, NULL, NULL);
}

static hc_status draft(void) {
    hc_draft d;
    hc_status s = hc_reserve(store, "draft", 5, 3, NULL, &d);
    if (s != HC_OK) return s;
    memcpy(d.data, "abc", 3);
    return hc_commit(&d, NULL);
}

static hc_status scan(void) {
    hc_scan *walk = NULL;
    hc_match m;
    hc_slice key;
    hc_view view;
    HC_INIT(&m);
    m.kind = HC_MATCH_PREFIX;
    m.pattern.data = "k";
    m.pattern.len = 1;
    hc_status s = hc_scan_open(store, &m, &walk);
    if (s != HC_OK) return s;
    while ((s = hc_scan_next(walk, &key, &view)) == HC_OK) hc_unpin(&view);
    hc_scan_close(walk);
    return s == HC_DONE ? HC_OK : s;
}

static hc_status invalidate(void) {
    hc_match m;
    HC_INIT(&m);
    m.kind = HC_MATCH_GLOB;
    m.pattern.data = "z*";
    m.pattern.len = 2;
    return hc_invalidate(store, &m, NULL);
}

static hc_status metrics(void) {
    static char text[1 << 16];
    size_t len;
    return hc_metrics_text(text, sizeof text, &len);
}

static hc_status configs(void) {
    hc_store_config s;
    hc_pool_config p;
    HC_INIT(&s);
    HC_INIT(&p);
    hc_status status = hc_pool_config_get(pool, &p);
    return status == HC_OK ? hc_store_config_get(store, &s) : status;
}

static hc_status statistics(void) {
    hc_store_stats s;
    hc_pool_stats p;
    HC_INIT(&s);
    HC_INIT(&p);
    hc_status status = hc_pool_stats_get(pool, &p);
    return status == HC_OK ? hc_store_stats_get(store, &s) : status;
}

static hc_status validate(void) { return hc_pool_validate(pool, NULL); }
static hc_status clear(void) { return hc_clear(store); }
static hc_status trim(void) { return hc_pool_trim(pool, 1 << 20, NULL); }

static hc_status set_limit(void) {
    hc_status s = hc_pool_set_limit(pool, 3 << 20, NULL);
    return s == HC_OK ? hc_pool_set_limit(pool, 4 << 20, NULL) : s;
}

static hc_status incr(void) {
    int64_t n;
    return hc_incr(store, "n", 1, 1, 1, HC_TTL_DEFAULT, &n);
}

static hc_status raw(void) {
    void *block = hc_pool_alloc(pool, 1000, 0, 0);
    /* Which of the two ran out, it does not tell. */
    return block ? hc_pool_free(pool, block) : HC_ERR_NO_SPACE;
}

static hc_status filter_create(void) {
    hc_filter_config c;
    hc_filter *made = NULL;
    HC_INIT(&c);
    c.capacity = 1000;
    c.pool = pool;
    hc_status s = hc_filter_create(&c, &made, NULL);
    if (s == HC_OK) s = hc_filter_add(made, "k", 1);
    hc_filter_release(made);
    return s;
}

static hc_status filter_grow(void) {
    hc_filter_config c;
    hc_filter *made = NULL;
    HC_INIT(&c);
    c.capacity = 1;
    hc_status s = hc_filter_create(&c, &made, NULL);
    for (int i = 0; i < 500 && s == HC_OK; i++) s = hc_filter_add(made, &i, sizeof i);
    /* Whatever failed, no key that was added is missed. */
    for (int i = 0; i < 500 && s == HC_OK; i++) s = hc_filter_contains(made, &i, sizeof i);
    if (s == HC_OK) s = hc_filter_validate(made, NULL);
    hc_filter_release(made);
    return s;
}

static hc_status filter_refused(void) {
    hc_filter_config c;
    hc_filter *made = NULL;
    hc_error err;
    HC_INIT(&c);
    HC_INIT(&err);
    c.capacity = 10;
    c.fpr = 2;
    hc_status s = hc_filter_create(&c, &made, &err);
    return s == HC_ERR_INVALID && err.message[0] ? HC_OK : s;
}

static hc_status filter_file(void) {
    char path[64];
    hc_filter_config c;
    hc_filter *made = NULL, *loaded = NULL;
    hc_filter_stats stats;
    snprintf(path, sizeof path, "/tmp/hypercache-oom-%ld", (long)getpid());
    HC_INIT(&c);
    HC_INIT(&stats);
    c.capacity = 100;
    hc_status s = hc_filter_create(&c, &made, NULL);
    if (s == HC_OK) s = hc_filter_stats_get(made, &stats);
    if (s == HC_OK) s = hc_filter_save(made, path, NULL);
    if (s == HC_OK) s = hc_filter_load(path, NULL, &loaded, NULL);
    hc_filter_release(made);
    hc_filter_release(loaded);
    unlink(path);
    return s;
}

static hc_status known_keys(void) {
    hc_filter_config c;
    hc_filter *made = NULL;
    HC_INIT(&c);
    c.capacity = 100;
    c.pool = pool;
    hc_status s = hc_filter_create(&c, &made, NULL);
    if (s == HC_OK) s = hc_filter_add(made, "k", 1);
    if (s == HC_OK) s = hc_store_set_known_keys(store, made);
    hc_filter_release(made);
    if (s == HC_OK) s = hc_may_exist(store, "k", 1);
    /* Whatever failed, it can be taken back. */
    hc_status back = hc_store_set_known_keys(store, NULL);
    return s == HC_OK ? back : s;
}

static void on_level(void *ctx, int32_t level, uint64_t used, uint64_t limit) {
    (void)ctx, (void)level, (void)used, (void)limit;
}
static int drops;
static void on_drop(void *ctx) {
    (void)ctx;
    drops++;
}
static void on_log(void *ctx, int32_t severity, const char *message) {
    (void)ctx, (void)severity, (void)message;
}

static hc_status watch(void) {
    hc_watch *w = NULL;
    drops = 0;
    hc_status s = hc_pool_watch(pool, on_level, NULL, on_drop, &w);
    hc_watch_cancel(w);
    return drops == 1 ? s : HC_ERR_INTERNAL;
}

static hc_status logger(void) {
    drops = 0;
    hc_set_logger(on_log, NULL, on_drop, HC_LOG_INFO);
    hc_set_logger(NULL, NULL, NULL, 0);
    return drops == 1 ? HC_OK : HC_ERR_INTERNAL;
}

static hc_status lease(void) {
    hc_view view;
    hc_lease held;
    hc_status s = hc_claim(store, "leased", 6, 0, 1000, &view, &held);
    if (s == HC_OK) hc_unpin(&view);
    if (s != HC_CLAIMED) return s;
    s = hc_lease_put(store, &held, "v", 1, NULL, NULL);
    if (s == HC_OK) s = hc_delete(store, "leased", 6);
    return s;
}

static hc_status lease_many(void) {
    static char names[200][100];
    hc_slice keys[200];
    static hc_view views[200];
    static hc_lease leases[200];
    hc_status statuses[200];
    for (int i = 0; i < 200; i++) {
        names[i][0] = (char)i;
        keys[i].data = names[i];
        keys[i].len = sizeof names[i];
    }
    hc_status s = hc_claim_many(store, keys, 200, 0, views, leases, statuses);
    for (int i = 0; i < 200; i++) {
        if (statuses[i] != HC_CLAIMED && s == HC_PARTIAL) s = statuses[i];
        hc_lease_drop(store, &leases[i], i % 3, 0);
    }
    s = s == HC_PARTIAL ? HC_OK : s;
    return s == HC_OK ? hc_clear(store) : s;
}

static hc_status waits(void) {
    hc_waits *made = NULL;
    hc_lease held;
    hc_view view;
    uint64_t cookie;
    hc_status outcome, s = hc_waits_open(store, &made, NULL);
    if (s != HC_OK) return s;
    s = hc_claim(store, "awaited", 7, 0, 0, &view, &held);
    if (s == HC_CLAIMED) {
        s = hc_waits_add(made, "awaited", 7, 5, NULL);
        hc_lease_drop(store, &held, HC_DROP_FAILED, 0);
        if (s == HC_OK) s = hc_waits_next(made, &cookie, &outcome, NULL);
    }
    hc_waits_close(made);
    return s;
}

#define CALL(name) {#name, name}
static const struct {
    const char *name;
    hc_status (*make)(void);
} calls[] = {
    CALL(pool_create), CALL(pool_open), CALL(refused_config), CALL(refused_key), CALL(store_open),
    CALL(store_find),  CALL(set),       CALL(set_large),      CALL(get),         CALL(pin),
    CALL(get_many),    CALL(put_many),  CALL(draft),          CALL(scan),        CALL(invalidate),
    CALL(metrics),     CALL(configs),   CALL(statistics),     CALL(validate),    CALL(clear),
    CALL(trim),        CALL(set_limit), CALL(incr),           CALL(raw),         CALL(watch),
    CALL(lease),       CALL(lease_many), CALL(waits),
    CALL(logger),      CALL(filter_create), CALL(filter_grow), CALL(filter_refused),
    CALL(filter_file), CALL(known_keys),
};

enum {
    GOOD = 0,
    NO_SUCH_ALLOCATION = 1,
    BAD_STATUS = 2,
    UNSOUND = 3,
    NO_START = 4,
    NOTED = 5, /* something for a thread's end */
};

static int start(void) {
    hc_pool_config pc;
    hc_store_config sc;
    HC_INIT(&pc);
    HC_INIT(&sc);
    pc.limit_bytes = 4 << 20;
    pc.name = "pool";
    sc.name = "store";
    if (hc_pool_create(&pc, &pool, NULL) != HC_OK) return 0;
    if (hc_store_open(pool, &sc, &store, NULL) != HC_OK) return 0;
    return hc_set(store, "k", 1, "v", 1, HC_TTL_DEFAULT) == HC_OK;
}

/* One call in a process of its own. */
static int child(hc_status (*make)(void), long n) {
    if (!start()) return NO_START;
    asked = 0;
    allowed = n;
    hc_status s = make();
    allowed = -1;
    if (asked <= n) return NO_SUCH_ALLOCATION;
    if (s != HC_OK && s != HC_ERR_NO_MEMORY && s != HC_ERR_NO_SPACE) {
        fprintf(stderr, "  answers %s\n", hc_status_name(s));
        return BAD_STATUS;
    }
    /* Afterwards everything works. */
    if (hc_pool_validate(pool, NULL) != HC_OK) return UNSOUND;
    if (make() != HC_OK) return UNSOUND;
    hc_store_release(store);
    hc_pool_release(pool);
    return noted ? NOTED : GOOD;
}

/* What threads fight for locks with; each call may be refused for want of room. */
static void *fight(void *arg) {
    static hc_status (*const often[])(void) = {set, get, raw, draft, pin, incr, statistics};
    static hc_status (*const seldom[])(void) = {set_large, trim, set_limit, validate};
    for (int i = 0; i < 2000; i++) {
        hc_status s = i % 16 ? often[i % 7]() : seldom[i / 16 % 4]();
        if (s >= 0 || s == HC_ERR_NO_SPACE) continue;
        fprintf(stderr, "  call %d answers %s\n", i, hc_status_name(s));
        return arg;
    }
    return NULL;
}

/* Threads that wait for each other, in a process of their own. */
static int fighters(void) {
    pthread_t threads[8];
    int wrong = 0;
    if (!start() || watch() != HC_OK) return NO_START;
    for (int i = 0; i < 8; i++)
        if (pthread_create(&threads[i], NULL, fight, threads)) return NO_START;
    for (int i = 0; i < 8; i++) {
        void *failed = threads;
        if (pthread_join(threads[i], &failed) || failed) wrong = 1;
    }
    return wrong ? BAD_STATUS : noted ? NOTED : GOOD;
}

/* How a process of its own ended that runs one of the two above. */
static int run(hc_status (*make)(void), long n) {
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(make ? child(make, n) : fighters());
    if (pid < 0 || waitpid(pid, &status, 0) != pid) exit(1);
    return status;
}

static void tell(const char *what, int status) {
    fprintf(stderr, "%s: %s %d\n", what, WIFSIGNALED(status) ? "ended by signal" : "exit",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

int main(void) {
    int wrong = 0;
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        for (ever_after = 0; ever_after < 2; ever_after++) {
            for (long n = 0; n < 1000; n++) {
                int status = run(calls[c].make, n);
                if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SUCH_ALLOCATION) break;
                if (WIFEXITED(status) && WEXITSTATUS(status) == GOOD) continue;
                char what[100];
                snprintf(what, sizeof what, "%s: allocation %ld%s fails", calls[c].name, n + 1,
                         ever_after ? " and all after" : "");
                tell(what, status);
                wrong++;
            }
        }
    }
    int status = run(NULL, 0);
    if (status != 0) tell("threads", status), wrong++;
    printf("%d wrong\n", wrong);
    return wrong != 0;
}
