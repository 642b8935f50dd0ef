/* Raw memory under a pool's limit. */
#include "check.h"

static void blocks(void) {
    hc_pool *pool = make_pool(8 * MIB);
    static const size_t aligns[] = {0, 1, 2, 8, 16, 64, 1024, 4096};
    static const size_t lens[] = {0, 1, 15, 64, 4000, 70000, 1 << 20};
    for (size_t a = 0; a < COUNT(aligns); a++) {
        for (size_t l = 0; l < COUNT(lens); l++) {
            unsigned char *block = hc_pool_alloc(pool, lens[l], aligns[a], HC_ALLOC_ZERO);
            CHECK(block != NULL);
            size_t align = aligns[a] ? aligns[a] : 16;
            CHECK((uintptr_t)block % align == 0);
            for (size_t i = 0; i < lens[l]; i++) CHECK(block[i] == 0);
            memset(block, 0xAA, lens[l]);
            IS(HC_OK, hc_pool_free(pool, block));
        }
    }
    hc_pool_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.app_bytes == 0);
    CHECK(stats.alloc_created + stats.alloc_reused == COUNT(aligns) * COUNT(lens));
    CHECK(stats.alloc_reused > 0);
    IS(HC_OK, hc_pool_validate(pool, NULL));
    hc_pool_release(pool);
}

static void bad_arguments(void) {
    hc_pool *pool = make_pool(8 * MIB);
    CHECK(hc_pool_alloc(pool, 64, 3, 0) == NULL);
    CHECK(hc_pool_alloc(pool, 64, 8192, 0) == NULL);
    CHECK(hc_pool_alloc(pool, 64, 0, UINT32_C(1) << 7) == NULL);
    CHECK(hc_pool_alloc(pool, SIZE_MAX, 0, 0) == NULL);
    CHECK(hc_pool_alloc(pool, 9 * MIB, 0, HC_ALLOC_EVICT) == NULL);
    CHECK(hc_pool_alloc(NULL, 64, 0, 0) == NULL);
    hc_pool_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.alloc_failures > 0 && stats.app_bytes == 0);
    hc_pool_release(pool);
}

static void bad_frees(void) {
    hc_pool *pool = make_pool(8 * MIB), *other = make_pool(8 * MIB);
    static const size_t lens[] = {16, 64, 5000, 300000};
    for (size_t l = 0; l < COUNT(lens); l++) {
        char *block = hc_pool_alloc(pool, lens[l], 0, 0), *kept = hc_pool_alloc(pool, lens[l], 0, 0);
        CHECK(block && kept);
        memset(kept, 'k', lens[l]);
        IS(HC_ERR_INVALID, hc_pool_free(other, block));     /* foreign */
        IS(HC_ERR_INVALID, hc_pool_free(pool, block + 1));  /* not its beginning */
        IS(HC_ERR_INVALID, hc_pool_free(pool, block + 8));  /* inside */
        IS(HC_OK, hc_pool_free(pool, block));
        IS(HC_ERR_INVALID, hc_pool_free(pool, block)); /* twice */
        for (size_t i = 0; i < lens[l]; i++) CHECK(kept[i] == 'k');
        IS(HC_OK, hc_pool_free(pool, kept));
        IS(HC_ERR_INVALID, hc_pool_free(pool, kept));
    }
    char local[64], *heap = malloc(64);
    IS(HC_ERR_INVALID, hc_pool_free(pool, local + 16));
    IS(HC_ERR_INVALID, hc_pool_free(pool, heap));
    free(heap);
    IS(HC_OK, hc_pool_free(pool, NULL));
    IS(HC_ERR_INVALID, hc_pool_free(NULL, local));
    IS(HC_OK, hc_pool_validate(pool, NULL));
    IS(HC_OK, hc_pool_validate(other, NULL));
    hc_pool_release(pool);
    hc_pool_release(other);
}

/* Without HC_ALLOC_EVICT a full cache yields nothing; with it, entries make room. */
static void eviction(void) {
    hc_pool *pool = make_pool(4 * MIB);
    hc_store *store = make_store(pool);
    char value[1000] = {0};
    for (uint32_t i = 0; i < 8000; i++) {
        hc_status s = hc_set(store, &i, sizeof i, value, sizeof value, HC_TTL_DEFAULT);
        CHECK(s == HC_OK || s == HC_NOT_ADMITTED);
    }
    CHECK(hc_pool_alloc(pool, MIB, 0, 0) == NULL);
    void *block = hc_pool_alloc(pool, MIB, 0, HC_ALLOC_EVICT);
    CHECK(block != NULL);
    memset(block, 0, MIB);
    hc_pool_stats stats;
    HC_INIT(&stats);
    IS(HC_OK, hc_pool_stats_get(pool, &stats));
    CHECK(stats.app_bytes >= MIB && stats.used_bytes <= 4 * MIB);
    IS(HC_OK, hc_pool_free(pool, block));
    IS(HC_OK, hc_pool_validate(pool, NULL));
    hc_store_release(store);
    hc_pool_release(pool);
}

const test raw_memory[] = {
    {"raw_blocks", blocks},     {"raw_bad_arguments", bad_arguments}, {"raw_bad_frees", bad_frees},
    {"raw_eviction", eviction}, {NULL, NULL},
};
