/* The native input ABI: the plugin object and its callbacks. */
#ifndef KUBE_AUDIT_INPUT_H
#define KUBE_AUDIT_INPUT_H

#include <time.h>

#include "common.h"

/* storage_type of an instance, set before cb_init: any other value is memory. */
#define FLB_STORAGE_FS 0
/* From 2.2.0 on: memory, of which the oldest chunks go when it is full. */
#define FLB_STORAGE_MEMRB 10

/*
 * cb_init, where 0 is success, -1 the only failure that all hosts know for an instance
 * with a thread of its own, and `data` nothing; and a collector's callback, where `data`
 * is the instance's context. Both run on the thread of the instance.
 */
typedef int flb_input_call_fn(struct flb_input_instance *ins, struct flb_config *config,
                              void *data);

/* cb_pause and cb_resume. The host may call them inside of an append, and before 5.1.0
 * cb_resume also without a context. */
typedef void flb_input_pause_fn(void *context, struct flb_config *config);

/* Called only after a context was set, before the host ends the instance's chunks. */
typedef int flb_input_exit_fn(void *context, struct flb_config *config);

/* Functions of the host for inputs; those that answer with a number have 0 for success. */
typedef const char *flb_input_get_property_fn(const char *key, struct flb_input_instance *ins);
typedef int flb_input_set_property_fn(struct flb_input_instance *ins, const char *key,
                                      const char *value);
typedef const char *flb_input_name_fn(struct flb_input_instance *ins);
typedef void flb_input_set_context_fn(struct flb_input_instance *ins, void *context);
/* From 2.0.0 on. */
typedef void *flb_input_get_cmt_instance_fn(struct flb_input_instance *ins);

/* Callbacks at an interval, and while `fd` is readable, from the start of the host's loop
 * on. The answer is the collector's number in the instance, or -1. */
typedef int flb_input_set_collector_time_fn(struct flb_input_instance *ins,
                                            flb_input_call_fn *callback, time_t seconds,
                                            long nanoseconds, struct flb_config *config);
typedef int flb_input_set_collector_event_fn(struct flb_input_instance *ins,
                                             flb_input_call_fn *callback, int fd,
                                             struct flb_config *config);
/* Takes a collector out of the loop; nothing happens to one that is not in it. */
typedef int flb_input_collector_pause_fn(int collector, struct flb_input_instance *ins);

/*
 * Appends records: flb_input_log_append from 2.0.0 on, and flb_input_chunk_append_raw
 * before, whose signature is another one later. The instance's tag without `tag`. The
 * records are copied.
 */
typedef int flb_input_append_fn(struct flb_input_instance *ins, const char *tag, size_t tag_len,
                                const void *records, size_t size);

/*
 * The object of the symbol `in_NAME_plugin`. The host copies its own idea of the size out
 * of the library after dlopen. Zeroes in `event_type` (logs), `type` (native) and `flags`
 * are right everywhere, and null for all callbacks but cb_init.
 */
struct flb_input_plugin_v1_9_0 {
    uint64_t flags_and_event_type;
    const char *name;
    const char *description;
    void *config_map;
    flb_input_call_fn *cb_init;
    flb_input_call_fn *cb_pre_run;
    flb_input_call_fn *cb_collect;
    void *cb_flush_buf;
    void *cb_flush_end;
    flb_input_pause_fn *cb_pause;
    flb_input_pause_fn *cb_resume;
    void *cb_ingest;
    flb_input_exit_fn *cb_exit;
    void *instance;
    struct mk_list _head;
};
KA_SIZE(flb_input_plugin_v1_9_0, 128);
KA_AT(flb_input_plugin_v1_9_0, name, 8);
KA_AT(flb_input_plugin_v1_9_0, cb_init, 32);
KA_AT(flb_input_plugin_v1_9_0, cb_pause, 72);
KA_AT(flb_input_plugin_v1_9_0, cb_exit, 96);

/* In 2.0.0 itself `event_type` comes after `flags`. */
struct flb_input_plugin_v2_0_0 {
    uint64_t type;
    void *proxy;
    uint64_t flags;
    const char *name;
    const char *description;
    void *config_map;
    flb_input_call_fn *cb_init;
    flb_input_call_fn *cb_pre_run;
    flb_input_call_fn *cb_collect;
    void *cb_flush_buf;
    void *cb_flush_end;
    flb_input_pause_fn *cb_pause;
    flb_input_pause_fn *cb_resume;
    void *cb_ingest;
    flb_input_exit_fn *cb_exit;
    void *instance;
    struct mk_list _head;
};
KA_SIZE(flb_input_plugin_v2_0_0, 144);
KA_AT(flb_input_plugin_v2_0_0, name, 24);
KA_AT(flb_input_plugin_v2_0_0, cb_init, 48);
KA_AT(flb_input_plugin_v2_0_0, cb_pause, 88);
KA_AT(flb_input_plugin_v2_0_0, cb_exit, 112);

struct flb_input_plugin_v2_0_7 {
    uint64_t type;
    void *proxy;
    uint64_t flags;
    const char *name;
    const char *description;
    void *config_map;
    flb_input_call_fn *cb_init;
    flb_input_call_fn *cb_pre_run;
    flb_input_call_fn *cb_collect;
    void *cb_flush_buf;
    void *cb_flush_end;
    flb_input_pause_fn *cb_pause;
    flb_input_pause_fn *cb_resume;
    void *cb_ingest;
    flb_input_exit_fn *cb_exit;
    void *cb_destroy;
    void *instance;
    struct mk_list _head;
};
KA_SIZE(flb_input_plugin_v2_0_7, 152);
KA_AT(flb_input_plugin_v2_0_7, cb_exit, 112);
KA_AT(flb_input_plugin_v2_0_7, cb_destroy, 120);

struct flb_input_plugin_v3_2_0 {
    uint64_t type;
    void *proxy;
    uint64_t flags;
    const char *name;
    const char *description;
    void *config_map;
    flb_input_call_fn *cb_init;
    flb_input_call_fn *cb_pre_run;
    flb_input_call_fn *cb_collect;
    flb_input_call_fn *cb_notification;
    void *cb_flush_buf;
    void *cb_flush_end;
    flb_input_pause_fn *cb_pause;
    flb_input_pause_fn *cb_resume;
    void *cb_ingest;
    flb_input_exit_fn *cb_exit;
    void *cb_destroy;
    void *instance;
    struct mk_list _head;
};
KA_SIZE(flb_input_plugin_v3_2_0, 160);
KA_AT(flb_input_plugin_v3_2_0, cb_notification, 72);
KA_AT(flb_input_plugin_v3_2_0, cb_pause, 96);
KA_AT(flb_input_plugin_v3_2_0, cb_exit, 120);

struct flb_input_plugin_v3_2_3 {
    uint64_t type;
    void *proxy;
    uint64_t flags;
    const char *name;
    const char *description;
    void *config_map;
    flb_input_call_fn *cb_init;
    flb_input_call_fn *cb_pre_run;
    flb_input_call_fn *cb_collect;
    flb_input_call_fn *cb_notification;
    void *cb_flush_buf;
    void *cb_flush_end;
    flb_input_pause_fn *cb_pause;
    flb_input_pause_fn *cb_resume;
    void *cb_ingest;
    flb_input_exit_fn *cb_exit;
    void *cb_destroy;
    void *test_formatter[6];
    void *instance;
    struct mk_list _head;
};
KA_SIZE(flb_input_plugin_v3_2_3, 208);
KA_AT(flb_input_plugin_v3_2_3, cb_exit, 120);
KA_AT(flb_input_plugin_v3_2_3, test_formatter, 136);
KA_AT(flb_input_plugin_v3_2_3, instance, 184);

struct flb_input_plugin_v5_1_0 {
    uint64_t type;
    void *proxy;
    uint64_t flags;
    const char *name;
    const char *description;
    void *config_map;
    flb_input_call_fn *cb_init;
    flb_input_call_fn *cb_pre_run;
    flb_input_call_fn *cb_collect;
    flb_input_call_fn *cb_notification;
    void *cb_flush_buf;
    void *cb_flush_end;
    flb_input_pause_fn *cb_pause;
    flb_input_pause_fn *cb_resume;
    void *cb_pause_checked;
    void *cb_resume_checked;
    void *cb_ingest;
    void *cb_pre_exit;
    flb_input_exit_fn *cb_exit;
    void *cb_destroy;
    void *test_formatter[6];
    void *instance;
    struct mk_list _head;
};
KA_SIZE(flb_input_plugin_v5_1_0, 232);
KA_AT(flb_input_plugin_v5_1_0, cb_pause, 96);
KA_AT(flb_input_plugin_v5_1_0, cb_resume, 104);
KA_AT(flb_input_plugin_v5_1_0, cb_exit, 144);
KA_AT(flb_input_plugin_v5_1_0, instance, 208);

/*
 * The exported object: any of the layouts, with room after it so that a host that copies
 * more than 232 bytes still reads memory of the library.
 */
union flb_input_plugin_export {
    struct flb_input_plugin_v1_9_0 v1_9_0;
    struct flb_input_plugin_v2_0_0 v2_0_0;
    struct flb_input_plugin_v2_0_7 v2_0_7;
    struct flb_input_plugin_v3_2_0 v3_2_0;
    struct flb_input_plugin_v3_2_3 v3_2_3;
    struct flb_input_plugin_v5_1_0 v5_1_0;
    uint64_t words[64];
};

#endif
