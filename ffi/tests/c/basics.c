/* Versions, names, metrics, the logger. */
#include "check.h"

static void versions(void) {
    CHECK(hc_version_number() == HC_VERSION_NUMBER);
    CHECK(strcmp(hc_version_string(), "0.1.0") == 0);
    CHECK(strstr(hc_build_info(), hc_version_string()) != NULL);
    CHECK(strstr(hc_build_info(), "target") != NULL);
}

static void status_names(void) {
    CHECK(strcmp(hc_status_name(HC_OK), "HC_OK") == 0);
    CHECK(strcmp(hc_status_name(HC_LOAD_FAILED), "HC_LOAD_FAILED") == 0);
    CHECK(strcmp(hc_status_name(HC_ERR_DEADLOCK), "HC_ERR_DEADLOCK") == 0);
    CHECK(strcmp(hc_status_name(HC_LOAD_FAILED + 1), "HC_UNKNOWN") == 0);
    CHECK(strcmp(hc_status_name(HC_ERR_DEADLOCK - 1), "HC_UNKNOWN") == 0);
    /* No value between the first and the last is without a name. */
    for (hc_status s = HC_ERR_DEADLOCK; s <= HC_LOAD_FAILED; s++) {
        CHECK(strcmp(hc_status_name(s), "HC_UNKNOWN") != 0);
    }
}

static void metrics(void) {
    hc_pool_config pc;
    hc_store_config sc;
    hc_pool *pool = NULL;
    hc_store *store = NULL;
    HC_INIT(&pc);
    HC_INIT(&sc);
    pc.limit_bytes = 2 * MIB;
    pc.name = "measured pool";
    sc.name = "measured store";
    IS(HC_OK, hc_pool_create(&pc, &pool, NULL));
    IS(HC_OK, hc_store_open(pool, &sc, &store, NULL));

    size_t len = 0;
    IS(HC_SMALL_BUFFER, hc_metrics_text(NULL, 0, &len));
    CHECK(len > 0);
    char *text = malloc(len + 4097);
    size_t got = 0;
    IS(HC_OK, hc_metrics_text(text, len + 4096, &got));
    CHECK(got <= len + 4096);
    text[got] = '\0';
    CHECK(strstr(text, "# TYPE") != NULL);
    CHECK(strstr(text, "measured pool") != NULL);
    CHECK(strstr(text, "measured store") != NULL);
    free(text);
    IS(HC_ERR_INVALID, hc_metrics_text(NULL, 0, NULL));
    IS(HC_ERR_INVALID, hc_metrics_text(NULL, 1, &len));
    hc_store_release(store);
    hc_pool_release(pool);
}

static int dropped;
static void on_drop(void *ctx) {
    CHECK(ctx == &dropped);
    dropped++;
}
static void on_log(void *ctx, int32_t severity, const char *message) {
    CHECK(ctx == &dropped);
    CHECK(severity >= HC_LOG_ERROR && severity <= HC_LOG_INFO);
    CHECK(strlen(message) > 0);
}

static void loggers(void) {
    dropped = 0;
    hc_set_logger(on_log, &dropped, on_drop, HC_LOG_INFO);
    CHECK(dropped == 0);
    hc_set_logger(on_log, &dropped, on_drop, HC_LOG_ERROR);
    CHECK(dropped == 1);
    hc_set_logger(NULL, NULL, NULL, 0);
    CHECK(dropped == 2);
    /* Never used, but given back. */
    hc_set_logger(NULL, &dropped, on_drop, HC_LOG_INFO);
    CHECK(dropped == 3);
    hc_set_logger(on_log, &dropped, on_drop, 0);
    CHECK(dropped == 4);
    hc_set_logger(NULL, NULL, NULL, 0);
    CHECK(dropped == 4);
}

const test basics[] = {
    {"versions", versions}, {"status_names", status_names}, {"metrics", metrics},
    {"loggers", loggers},   {NULL, NULL},
};
