/* A filter before a slow source: most keys that are not there are answered without asking it. */
#include <hypercache.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void must(hc_status status, const char *what) {
    if (status != HC_OK) {
        fprintf(stderr, "%s: %s\n", what, hc_status_name(status));
        exit(1);
    }
}

/* The source: it has the even numbers below 200,000. */
enum { KEYS = 100000 };
static long asked;
static int source_has(uint64_t key) {
    asked++;
    return key % 2 == 0 && key < 2 * KEYS;
}

int main(void) {
    hc_filter_config config;
    hc_filter *filter = NULL;
    hc_error err;
    HC_INIT(&config);
    HC_INIT(&err);
    config.capacity = KEYS; /* the rate of false positives: 0.1 % by default */
    if (hc_filter_create(&config, &filter, &err) != HC_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }

    /* What the source has, the filter must know: add a key here before it is written there. */
    for (uint64_t i = 0; i < KEYS; i++) {
        uint64_t key = 2 * i;
        must(hc_filter_add(filter, &key, sizeof key), "add");
    }

    long found = 0;
    for (uint64_t key = 0; key < 4 * KEYS; key++) {
        /* HC_NOT_FOUND is certain. Anything else is a maybe. */
        if (hc_filter_contains(filter, &key, sizeof key) == HC_NOT_FOUND) continue;
        found += source_has(key);
    }
    printf("%d look-ups, the source was asked %ld times and had %ld\n", 4 * KEYS, asked, found);

    /* Removing is exact as long as only what was added is removed. */
    uint64_t gone = 0;
    must(hc_filter_remove(filter, &gone, sizeof gone), "remove");

    hc_filter_stats stats;
    HC_INIT(&stats);
    must(hc_filter_stats_get(filter, &stats), "stats");
    printf("%" PRIu64 " keys in %" PRIu64 " KiB, %.1f bits each; %.3f %% false positives\n",
           stats.keys, stats.bytes >> 10, (double)stats.bytes * 8 / (double)stats.keys,
           stats.fpr_sampled * 100);
    hc_filter_release(filter);
    return found == KEYS && asked < KEYS + KEYS / 50 ? 0 : 1;
}
