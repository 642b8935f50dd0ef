/* Read and write large values where they are, without copying them. */
#include <hypercache.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 256 };

static void must(hc_status status, const char *what) {
    if (status != HC_OK) {
        fprintf(stderr, "%s: %s\n", what, hc_status_name(status));
        exit(1);
    }
}

int main(void) {
    hc_pool_config pool_config;
    HC_INIT(&pool_config);
    pool_config.limit_bytes = UINT64_C(32) << 20;
    hc_pool *pool = NULL;
    must(hc_pool_create(&pool_config, &pool, NULL), "create");
    hc_store_config store_config;
    HC_INIT(&store_config);
    hc_store *store = NULL;
    must(hc_store_open(pool, &store_config, &store, NULL), "open");

    /* A draft: room in the cache that only we see. Paint the picture into it, then publish it. */
    hc_draft draft;
    must(hc_reserve(store, "picture", 7, SIDE * SIDE, NULL, &draft), "reserve");
    unsigned char *pixels = draft.data;
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            int dx = x - SIDE / 2, dy = y - SIDE / 2;
            pixels[y * SIDE + x] = (unsigned char)((dx * dx + dy * dy) / 96);
        }
    }
    must(hc_commit(&draft, NULL), "commit");

    /* A view: the value where it is. It stays readable until it is unpinned, whatever happens to
     * the key meanwhile. */
    hc_view view;
    must(hc_pin(store, "picture", 7, 0, &view), "pin");
    must(hc_set(store, "picture", 7, "overpainted", 11, HC_TTL_DEFAULT), "overwrite");
    const unsigned char *seen = view.data;
    for (int y = 0; y < SIDE; y += 16) {
        for (int x = 0; x < SIDE; x += 8) putchar(" .:-=+*#%@"[seen[y * SIDE + x] * 10 / 256]);
        putchar('\n');
    }
    printf("%zu bytes seen in place; the key holds another value by now.\n", view.len);
    hc_unpin(&view);
    hc_unpin(&view); /* a view that was given back is cleared: this does nothing */

    char buf[16];
    size_t len = 0;
    must(hc_get(store, "picture", 7, buf, sizeof buf, &len), "get");
    int fine = len == 11 && memcmp(buf, "overpainted", len) == 0;

    hc_store_release(store);
    hc_pool_release(pool);
    return fine ? 0 : 1;
}
