/* Many keys in one call: their memory accesses overlap, which is worth more than anything else
 * when the cache is larger than the processor's. */
#include <hypercache.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { USERS = 100 };

static void must(hc_status status, const char *what) {
    if (status != HC_OK) {
        fprintf(stderr, "%s: %s\n", what, hc_status_name(status));
        exit(1);
    }
}

int main(void) {
    hc_pool_config pool_config;
    HC_INIT(&pool_config);
    pool_config.limit_bytes = UINT64_C(16) << 20;
    hc_pool *pool = NULL;
    must(hc_pool_create(&pool_config, &pool, NULL), "create");
    hc_store_config store_config;
    HC_INIT(&store_config);
    hc_store *store = NULL;
    must(hc_store_open(pool, &store_config, &store, NULL), "open");

    /* Write them all at once. Each entry may have its own type and time to live. */
    static char keys[USERS][16], names[USERS][32];
    static hc_entry entries[USERS];
    for (int i = 0; i < USERS; i++) {
        int key_len = snprintf(keys[i], sizeof keys[i], "user:%d", i);
        int name_len = snprintf(names[i], sizeof names[i], "Ada the %d%s", i + 1,
                                i == 0 ? "st" : i == 1 ? "nd" : i == 2 ? "rd" : "th");
        entries[i].key.data = keys[i];
        entries[i].key.len = (size_t)key_len;
        entries[i].value.data = names[i];
        entries[i].value.len = (size_t)name_len;
        entries[i].type = HC_TYPE_STRING;
    }
    must(hc_put_many(store, entries, USERS, NULL, NULL), "put_many");

    /* Read a page of them, one of which nobody has ever seen. The values stand one after another
     * in buf; each has its own status. */
    hc_slice page[8], values[8];
    hc_status statuses[8];
    char buf[512];
    for (int i = 0; i < 7; i++) page[i] = entries[i * i].key;
    page[7].data = "user:nobody";
    page[7].len = 11;
    hc_status all = hc_get_many(store, page, 8, 0, buf, sizeof buf, values, NULL, statuses);
    for (int i = 0; i < 8; i++) {
        printf("%-12.*s %-12s %.*s\n", (int)page[i].len, (const char *)page[i].data,
               hc_status_name(statuses[i]), (int)values[i].len,
               values[i].data ? (const char *)values[i].data : "");
    }
    printf("As a whole: %s\n", hc_status_name(all));

    uint64_t deleted = 0;
    must(hc_delete_many(store, page, 8, &deleted), "delete_many");
    printf("Deleted %" PRIu64 " of 8\n", deleted);

    hc_store_release(store);
    hc_pool_release(pool);
    return all == HC_PARTIAL && deleted == 7 ? 0 : 1;
}
