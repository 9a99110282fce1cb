/* The native filter ABI: the plugin object and its callbacks. */
#ifndef KUBE_AUDIT_FILTER_H
#define KUBE_AUDIT_FILTER_H

#include "common.h"

/* Answers of cb_filter. */
#define FLB_FILTER_MODIFIED 1
#define FLB_FILTER_NOTOUCH 2

/* cb_pre_run and cb_init: 0 is success. */
typedef int flb_filter_start_fn(struct flb_filter_instance *ins, struct flb_config *config,
                                void *data);

/*
 * From 1.9.3 on; `input` may be an output instance when the filter is an
 * output's processor. `tag` need not be NUL-terminated there.
 */
typedef int flb_filter_run_fn(const void *data, size_t bytes, const char *tag, int tag_len,
                              void **out_buf, size_t *out_size, struct flb_filter_instance *ins,
                              void *input, void *context, struct flb_config *config);

/* Called only after a context was set. */
typedef int flb_filter_exit_fn(void *context, struct flb_config *config);

/* Functions of the host for filters. */
typedef const char *flb_filter_get_property_fn(const char *key, struct flb_filter_instance *ins);
typedef const char *flb_filter_name_fn(struct flb_filter_instance *ins);
typedef void flb_filter_set_context_fn(struct flb_filter_instance *ins, void *context);

/*
 * The object of the symbol `filter_NAME_plugin`. The host copies its own
 * idea of the size out of the library after dlopen. Zeroes in `event_type`
 * (logs) and `flags` (never read) are right everywhere.
 */
struct flb_filter_plugin_v1_9_0 {
    uint64_t event_type_and_flags;
    const char *name;
    const char *description;
    void *config_map;
    flb_filter_start_fn *cb_init;
    flb_filter_run_fn *cb_filter;
    flb_filter_exit_fn *cb_exit;
    struct mk_list _head;
};
KA_SIZE(flb_filter_plugin_v1_9_0, 72);
KA_AT(flb_filter_plugin_v1_9_0, name, 8);
KA_AT(flb_filter_plugin_v1_9_0, config_map, 24);
KA_AT(flb_filter_plugin_v1_9_0, cb_init, 32);
KA_AT(flb_filter_plugin_v1_9_0, cb_exit, 48);

struct flb_filter_plugin_v2_2_0 {
    uint64_t event_type_and_flags;
    const char *name;
    const char *description;
    void *config_map;
    flb_filter_start_fn *cb_pre_run;
    flb_filter_start_fn *cb_init;
    flb_filter_run_fn *cb_filter;
    flb_filter_exit_fn *cb_exit;
    struct mk_list _head;
};
KA_SIZE(flb_filter_plugin_v2_2_0, 80);
KA_AT(flb_filter_plugin_v2_2_0, name, 8);
KA_AT(flb_filter_plugin_v2_2_0, cb_pre_run, 32);
KA_AT(flb_filter_plugin_v2_2_0, cb_init, 40);
KA_AT(flb_filter_plugin_v2_2_0, cb_exit, 56);

struct flb_filter_plugin_v3_2_0 {
    uint64_t event_type_and_flags;
    const char *name;
    const char *description;
    void *config_map;
    flb_filter_start_fn *cb_pre_run;
    flb_filter_start_fn *cb_init;
    flb_filter_run_fn *cb_filter;
    flb_filter_exit_fn *cb_exit;
    flb_filter_start_fn *cb_notification;
    struct mk_list _head;
};
KA_SIZE(flb_filter_plugin_v3_2_0, 88);
KA_AT(flb_filter_plugin_v3_2_0, name, 8);
KA_AT(flb_filter_plugin_v3_2_0, cb_init, 40);
KA_AT(flb_filter_plugin_v3_2_0, cb_exit, 56);
KA_AT(flb_filter_plugin_v3_2_0, cb_notification, 64);
KA_AT(flb_filter_plugin_v3_2_0, _head, 72);

/*
 * The exported object: any of the layouts, with room after it so that a host
 * that copies more than 88 bytes still reads memory of the library.
 */
union flb_filter_plugin_export {
    struct flb_filter_plugin_v1_9_0 v1_9_0;
    struct flb_filter_plugin_v2_2_0 v2_2_0;
    struct flb_filter_plugin_v3_2_0 v3_2_0;
    uint64_t words[32];
};

#endif
