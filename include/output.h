/* The output ABI for external ("Go") plugins. */
#ifndef KUBE_AUDIT_OUTPUT_H
#define KUBE_AUDIT_OUTPUT_H

#include "common.h"

/* Answers of FLBPluginFlushCtx. */
#define FLB_ERROR 0
#define FLB_OK 1
#define FLB_RETRY 2

/* flb_plugin_proxy_def.type and .proxy */
#define FLB_PROXY_OUTPUT_PLUGIN 2
#define FLB_PROXY_GOLANG 11

/* flb_plugin_proxy_def.flags: TLS may be switched on. */
#define FLB_IO_OPT_TLS 4

/* retry_limit: what the host starts with, "no_retries" and "no_limits". */
#define FLB_OUT_RETRY_DEFAULT 1
#define FLB_OUT_RETRY_NONE 0
#define FLB_OUT_RETRY_UNLIMITED (-1)

/* Functions of the host for outputs. */
typedef const char *flb_output_get_property_fn(const char *key, struct flb_output_instance *ins);
typedef int flb_output_set_property_fn(struct flb_output_instance *ins, const char *key,
                                       const char *value);
typedef const char *flb_output_name_fn(struct flb_output_instance *ins);
/* From 2.0.0 on: the instance's metrics. */
typedef void *flb_output_get_cmt_instance_fn(struct flb_output_instance *ins);

/*
 * Filled by FLBPluginRegister. Later hosts have more after it, earlier ones
 * allocate just this, and not zeroed.
 */
struct flb_plugin_proxy_def {
    int type;
    int proxy;
    int flags;
    const char *name;
    const char *description;
};
KA_SIZE(flb_plugin_proxy_def, 32);
KA_AT(flb_plugin_proxy_def, name, 16);
KA_AT(flb_plugin_proxy_def, description, 24);

/* Per instance; the plugin keeps its own pointer in `remote_context`. */
struct flb_plugin_proxy_context {
    void *remote_context;
    void *proxy;
};
KA_SIZE(flb_plugin_proxy_context, 16);

/*
 * The argument of FLBPluginInit: one object per registration, overwritten for
 * each instance. The callbacks after `context` are for the host only.
 */
struct flbgo_output_plugin {
    char *name;
    void *api;
    struct flb_output_instance *o_ins;
    struct flb_plugin_proxy_context *context;
    void *callbacks[5];
};
KA_SIZE(flbgo_output_plugin, 72);
KA_AT(flbgo_output_plugin, o_ins, 16);
KA_AT(flbgo_output_plugin, context, 24);

#endif
