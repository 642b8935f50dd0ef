/* Let the pool tell when memory that it cannot take back gets tight. A full cache is no reason for
 * alarm, since entries can go; raw memory cannot. */
#define _POSIX_C_SOURCE 200809L
#include <hypercache.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *name_of(int32_t level) {
    if (level < HC_PRESSURE_ELEVATED) return "calm";
    if (level < HC_PRESSURE_HIGH) return "elevated";
    if (level < HC_PRESSURE_CRITICAL) return "high";
    return "critical";
}

/* Called on the library's own thread, with no lock held. Only changes of level are told. */
static void on_change(void *ctx, int32_t level, uint64_t used, uint64_t limit) {
    (void)ctx;
    printf("  told: %s (%" PRIu64 " of %" PRIu64 " KiB)\n", name_of(level), used >> 10,
           limit >> 10);
    fflush(stdout);
}

static void must(hc_status status, const char *what) {
    if (status != HC_OK) {
        fprintf(stderr, "%s: %s\n", what, hc_status_name(status));
        exit(1);
    }
}

int main(void) {
    hc_pool_config config;
    HC_INIT(&config);
    config.limit_bytes = UINT64_C(8) << 20;
    hc_pool *pool = NULL;
    must(hc_pool_create(&config, &pool, NULL), "create");
    must(hc_pool_set_thresholds(pool, 50, 70, 85), "thresholds");
    hc_watch *watch = NULL;
    must(hc_pool_watch(pool, on_change, NULL, NULL, &watch), "watch");

    /* Raw memory under the same limit as the entries, taken until the pool says no. */
    enum { BLOCKS = 128, BLOCK = 64 << 10 };
    static void *blocks[BLOCKS];
    int taken = 0;
    uint64_t seq = 0;
    while (taken < BLOCKS && (blocks[taken] = hc_pool_alloc(pool, BLOCK, 0, HC_ALLOC_ZERO))) {
        taken++;
        /* Asking is one load: do it as often as you like. */
        if (hc_pool_pressure(pool) >= HC_PRESSURE_CRITICAL) break;
    }
    printf("%d blocks of 64 KiB, pressure %s\n", taken, name_of(hc_pool_pressure(pool)));

    /* A thread of one's own may wait for a change instead of being called. */
    int32_t level = HC_PRESSURE_NONE;
    must(hc_pool_wait(pool, &seq, 1000, &level), "wait");

    for (int i = 0; i < taken; i++) must(hc_pool_free(pool, blocks[i]), "free");
    int32_t after = hc_pool_pressure(pool);
    printf("all given back, pressure %s\n", name_of(after));
    printf("giving one back twice: %s\n", hc_status_name(hc_pool_free(pool, blocks[0])));

    hc_watch_cancel(watch); /* no call is running or will come after this */
    hc_pool_release(pool);
    return taken > 0 && after == HC_PRESSURE_NONE ? 0 : 1;
}
