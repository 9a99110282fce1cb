/* The native filter ABI: the plugin object and the instance. */
#ifndef KUBE_AUDIT_FILTER_H
#define KUBE_AUDIT_FILTER_H

#include "common.h"

/* What cb_filter answers. */
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
 * The object behind the symbol `filter_NAME_plugin`. The host copies its own
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
 * What the library exports: any of the layouts, with room behind it so that a
 * host that copies more than 88 bytes still reads memory of ours.
 */
union flb_filter_plugin_export {
    struct flb_filter_plugin_v1_9_0 v1_9_0;
    struct flb_filter_plugin_v2_2_0 v2_2_0;
    struct flb_filter_plugin_v3_2_0 v3_2_0;
    uint64_t words[32];
};

/* The instance up to its metrics. `alias` is NULL when not set. */
struct flb_filter_instance_v1_9_0 {
    int id;
    int log_level;
    char name[32];
    char *alias;
    char *match;
    void *match_regex;
    void *context;
    void *data;
    void *plugin;
    struct mk_list properties;
    void *config_map;
    struct mk_list _head;
    struct cmt *cmt;
};
KA_AT(flb_filter_instance_v1_9_0, log_level, 4);
KA_AT(flb_filter_instance_v1_9_0, name, 8);
KA_AT(flb_filter_instance_v1_9_0, alias, 40);
KA_AT(flb_filter_instance_v1_9_0, context, 64);
KA_AT(flb_filter_instance_v1_9_0, properties, 88);
KA_AT(flb_filter_instance_v1_9_0, cmt, 128);

struct flb_filter_instance_v2_1_0 {
    int event_type;
    int id;
    int log_level;
    int log_suppress_interval;
    char name[32];
    char *alias;
    char *match;
    void *match_regex;
    void *context;
    void *data;
    void *plugin;
    struct mk_list properties;
    void *config_map;
    struct mk_list _head;
    struct cmt *cmt;
};
KA_AT(flb_filter_instance_v2_1_0, log_level, 8);
KA_AT(flb_filter_instance_v2_1_0, name, 16);
KA_AT(flb_filter_instance_v2_1_0, alias, 48);
KA_AT(flb_filter_instance_v2_1_0, context, 72);
KA_AT(flb_filter_instance_v2_1_0, properties, 96);
KA_AT(flb_filter_instance_v2_1_0, cmt, 136);

struct flb_filter_instance_v2_1_4 {
    int event_type;
    int id;
    int log_level;
    int log_suppress_interval;
    char name[32];
    char *alias;
    char *match;
    void *match_regex;
    void *parent_processor;
    void *context;
    void *data;
    void *plugin;
    struct mk_list properties;
    void *config_map;
    struct mk_list _head;
    struct cmt *cmt;
};
KA_AT(flb_filter_instance_v2_1_4, log_level, 8);
KA_AT(flb_filter_instance_v2_1_4, name, 16);
KA_AT(flb_filter_instance_v2_1_4, alias, 48);
KA_AT(flb_filter_instance_v2_1_4, context, 80);
KA_AT(flb_filter_instance_v2_1_4, properties, 104);
KA_AT(flb_filter_instance_v2_1_4, cmt, 144);

/*
 * Where the configuration is, behind the metrics: the same pointer that
 * cb_init gets.
 */
#define FLB_FILTER_CONFIG_V2_0_0 176
#define FLB_FILTER_CONFIG_V2_1_0 184
#define FLB_FILTER_CONFIG_V2_1_4 192
#define FLB_FILTER_CONFIG_V3_2_0 208

#endif
