/* The output ABI for external ("Go") plugins, and the output instance. */
#ifndef KUBE_AUDIT_OUTPUT_H
#define KUBE_AUDIT_OUTPUT_H

#include "common.h"

/* What FLBPluginFlushCtx answers. */
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
 * What FLBPluginRegister fills. Later hosts have more behind it, earlier ones
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
 * What FLBPluginInit gets: one object per registration, overwritten for each
 * instance. The callbacks behind `context` are the host's own business.
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

/*
 * The instance up to the properties. Strings are NULL when not set; `alias`
 * too. `retry_limit_is_set` tells a chosen limit from the default.
 */
struct flb_output_instance_v1_9_0 {
    unsigned char event[72];
    int event_type;
    int id;
    int log_level;
    char name[32];
    char *alias;
    int flags;
    int test_mode;
    int ch_events[2];
    void *plugin;
    void *context;
    int retry_limit;
    int use_tls;
    char *match;
    void *match_regex;
    int tls_verify;
    int tls_debug;
    char *tls_vhost;
    char *tls_ca_path;
    char *tls_ca_file;
    char *tls_crt_file;
    char *tls_key_file;
    char *tls_key_passwd;
    struct flb_net_host host;
    void *data;
    void *out_context;
    void *tls;
    struct mk_list properties;
};
KA_AT(flb_output_instance_v1_9_0, log_level, 80);
KA_AT(flb_output_instance_v1_9_0, name, 84);
KA_AT(flb_output_instance_v1_9_0, alias, 120);
KA_AT(flb_output_instance_v1_9_0, flags, 128);
KA_AT(flb_output_instance_v1_9_0, context, 152);
KA_AT(flb_output_instance_v1_9_0, retry_limit, 160);
KA_AT(flb_output_instance_v1_9_0, use_tls, 164);
KA_AT(flb_output_instance_v1_9_0, tls_verify, 184);
KA_AT(flb_output_instance_v1_9_0, tls_vhost, 192);
KA_AT(flb_output_instance_v1_9_0, tls_key_passwd, 232);
KA_AT(flb_output_instance_v1_9_0, host, 240);
KA_AT(flb_output_instance_v1_9_0, properties, 312);

struct flb_output_instance_v2_0_9 {
    unsigned char event[72];
    int event_type;
    int id;
    int log_level;
    int log_suppress_interval;
    char name[32];
    char *alias;
    int flags;
    int test_mode;
    int ch_events[2];
    void *plugin;
    void *context;
    int retry_limit;
    int use_tls;
    char *match;
    void *match_regex;
    int tls_verify;
    int tls_debug;
    char *tls_vhost;
    char *tls_ca_path;
    char *tls_ca_file;
    char *tls_crt_file;
    char *tls_key_file;
    char *tls_key_passwd;
    struct flb_net_host host;
    void *data;
    void *out_context;
    void *tls;
    struct mk_list properties;
};
KA_AT(flb_output_instance_v2_0_9, log_level, 80);
KA_AT(flb_output_instance_v2_0_9, name, 88);
KA_AT(flb_output_instance_v2_0_9, alias, 120);
KA_AT(flb_output_instance_v2_0_9, flags, 128);
KA_AT(flb_output_instance_v2_0_9, context, 152);
KA_AT(flb_output_instance_v2_0_9, retry_limit, 160);
KA_AT(flb_output_instance_v2_0_9, use_tls, 164);
KA_AT(flb_output_instance_v2_0_9, tls_verify, 184);
KA_AT(flb_output_instance_v2_0_9, tls_vhost, 192);
KA_AT(flb_output_instance_v2_0_9, tls_key_passwd, 232);
KA_AT(flb_output_instance_v2_0_9, host, 240);
KA_AT(flb_output_instance_v2_0_9, properties, 312);

struct flb_output_instance_v2_1_0 {
    unsigned char event[72];
    void *processor;
    int event_type;
    int id;
    int log_level;
    int log_suppress_interval;
    char name[32];
    char *alias;
    int flags;
    int test_mode;
    int ch_events[2];
    void *plugin;
    void *context;
    int retry_limit;
    int use_tls;
    char *match;
    void *match_regex;
    int tls_verify;
    int tls_debug;
    char *tls_vhost;
    char *tls_ca_path;
    char *tls_ca_file;
    char *tls_crt_file;
    char *tls_key_file;
    char *tls_key_passwd;
    struct flb_net_host host;
    void *data;
    void *out_context;
    void *tls;
    struct mk_list properties;
};
KA_AT(flb_output_instance_v2_1_0, log_level, 88);
KA_AT(flb_output_instance_v2_1_0, name, 96);
KA_AT(flb_output_instance_v2_1_0, alias, 128);
KA_AT(flb_output_instance_v2_1_0, flags, 136);
KA_AT(flb_output_instance_v2_1_0, context, 160);
KA_AT(flb_output_instance_v2_1_0, retry_limit, 168);
KA_AT(flb_output_instance_v2_1_0, use_tls, 172);
KA_AT(flb_output_instance_v2_1_0, tls_verify, 192);
KA_AT(flb_output_instance_v2_1_0, tls_vhost, 200);
KA_AT(flb_output_instance_v2_1_0, tls_key_passwd, 240);
KA_AT(flb_output_instance_v2_1_0, host, 248);
KA_AT(flb_output_instance_v2_1_0, properties, 320);

struct flb_output_instance_v3_1_0 {
    unsigned char event[72];
    void *processor;
    int event_type;
    int id;
    int log_level;
    int log_suppress_interval;
    char name[32];
    char *alias;
    int flags;
    int test_mode;
    int ch_events[2];
    void *plugin;
    void *context;
    int retry_limit;
    int use_tls;
    char *match;
    void *match_regex;
    int tls_verify;
    int tls_verify_hostname;
    int tls_debug;
    char *tls_vhost;
    char *tls_ca_path;
    char *tls_ca_file;
    char *tls_crt_file;
    char *tls_key_file;
    char *tls_key_passwd;
    struct flb_net_host host;
    void *data;
    void *out_context;
    void *tls;
    struct mk_list properties;
};
KA_AT(flb_output_instance_v3_1_0, log_level, 88);
KA_AT(flb_output_instance_v3_1_0, name, 96);
KA_AT(flb_output_instance_v3_1_0, alias, 128);
KA_AT(flb_output_instance_v3_1_0, flags, 136);
KA_AT(flb_output_instance_v3_1_0, context, 160);
KA_AT(flb_output_instance_v3_1_0, retry_limit, 168);
KA_AT(flb_output_instance_v3_1_0, use_tls, 172);
KA_AT(flb_output_instance_v3_1_0, tls_verify, 192);
KA_AT(flb_output_instance_v3_1_0, tls_verify_hostname, 196);
KA_AT(flb_output_instance_v3_1_0, tls_vhost, 208);
KA_AT(flb_output_instance_v3_1_0, tls_key_passwd, 248);
KA_AT(flb_output_instance_v3_1_0, host, 256);
KA_AT(flb_output_instance_v3_1_0, properties, 328);

struct flb_output_instance_v4_0_0 {
    unsigned char event[72];
    void *processor;
    int event_type;
    int id;
    int log_level;
    int log_suppress_interval;
    char name[32];
    char *alias;
    int flags;
    int test_mode;
    int ch_events[2];
    void *plugin;
    void *context;
    int retry_limit;
    int use_tls;
    char *match;
    void *match_regex;
    int tls_verify;
    int tls_verify_hostname;
    int tls_debug;
    char *tls_vhost;
    char *tls_ca_path;
    char *tls_ca_file;
    char *tls_crt_file;
    char *tls_key_file;
    char *tls_key_passwd;
    char *tls_min_version;
    char *tls_max_version;
    char *tls_ciphers;
    struct flb_net_host host;
    void *data;
    void *out_context;
    void *tls;
    struct mk_list properties;
};
KA_AT(flb_output_instance_v4_0_0, log_level, 88);
KA_AT(flb_output_instance_v4_0_0, name, 96);
KA_AT(flb_output_instance_v4_0_0, alias, 128);
KA_AT(flb_output_instance_v4_0_0, flags, 136);
KA_AT(flb_output_instance_v4_0_0, context, 160);
KA_AT(flb_output_instance_v4_0_0, retry_limit, 168);
KA_AT(flb_output_instance_v4_0_0, use_tls, 172);
KA_AT(flb_output_instance_v4_0_0, tls_verify, 192);
KA_AT(flb_output_instance_v4_0_0, tls_verify_hostname, 196);
KA_AT(flb_output_instance_v4_0_0, tls_vhost, 208);
KA_AT(flb_output_instance_v4_0_0, tls_key_passwd, 248);
KA_AT(flb_output_instance_v4_0_0, tls_ciphers, 272);
KA_AT(flb_output_instance_v4_0_0, host, 280);
KA_AT(flb_output_instance_v4_0_0, properties, 352);

struct flb_output_instance_v5_0_3 {
    unsigned char event[72];
    void *processor;
    int event_type;
    int id;
    int log_level;
    int log_suppress_interval;
    char name[32];
    char *alias;
    int flags;
    int test_mode;
    int ch_events[2];
    void *plugin;
    void *context;
    int retry_limit;
    int retry_limit_is_set;
    int use_tls;
    char *match;
    void *match_regex;
    int tls_verify;
    int tls_verify_hostname;
    int tls_debug;
    char *tls_vhost;
    char *tls_ca_path;
    char *tls_ca_file;
    char *tls_crt_file;
    char *tls_key_file;
    char *tls_key_passwd;
    char *tls_min_version;
    char *tls_max_version;
    char *tls_ciphers;
    struct flb_net_host host;
    void *data;
    void *out_context;
    void *tls;
    struct mk_list properties;
};
KA_AT(flb_output_instance_v5_0_3, log_level, 88);
KA_AT(flb_output_instance_v5_0_3, name, 96);
KA_AT(flb_output_instance_v5_0_3, alias, 128);
KA_AT(flb_output_instance_v5_0_3, flags, 136);
KA_AT(flb_output_instance_v5_0_3, context, 160);
KA_AT(flb_output_instance_v5_0_3, retry_limit, 168);
KA_AT(flb_output_instance_v5_0_3, retry_limit_is_set, 172);
KA_AT(flb_output_instance_v5_0_3, use_tls, 176);
KA_AT(flb_output_instance_v5_0_3, tls_verify, 200);
KA_AT(flb_output_instance_v5_0_3, tls_verify_hostname, 204);
KA_AT(flb_output_instance_v5_0_3, tls_vhost, 216);
KA_AT(flb_output_instance_v5_0_3, tls_key_passwd, 256);
KA_AT(flb_output_instance_v5_0_3, tls_ciphers, 280);
KA_AT(flb_output_instance_v5_0_3, host, 288);
KA_AT(flb_output_instance_v5_0_3, properties, 360);

struct flb_output_instance_v5_1_0 {
    unsigned char event[72];
    void *processor;
    int event_type;
    int id;
    int log_level;
    int log_suppress_interval;
    char name[32];
    char *alias;
    int flags;
    int test_mode;
    int ch_events[2];
    void *plugin;
    void *context;
    int retry_limit;
    int retry_limit_is_set;
    int use_tls;
    char *match;
    void *match_regex;
    int tls_verify;
    int tls_verify_hostname;
    int tls_debug;
    char *tls_vhost;
    char *tls_ca_path;
    char *tls_ca_file;
    char *tls_crt_file;
    char *tls_key_file;
    char *tls_key_passwd;
    char *tls_min_version;
    char *tls_max_version;
    char *tls_ciphers;
    int tls_proxy_verify;
    int tls_proxy_verify_hostname;
    char *tls_proxy_ca_path;
    char *tls_proxy_ca_file;
    struct flb_net_host host;
    void *data;
    void *out_context;
    void *tls;
    struct mk_list properties;
};
KA_AT(flb_output_instance_v5_1_0, log_level, 88);
KA_AT(flb_output_instance_v5_1_0, name, 96);
KA_AT(flb_output_instance_v5_1_0, alias, 128);
KA_AT(flb_output_instance_v5_1_0, flags, 136);
KA_AT(flb_output_instance_v5_1_0, context, 160);
KA_AT(flb_output_instance_v5_1_0, retry_limit, 168);
KA_AT(flb_output_instance_v5_1_0, retry_limit_is_set, 172);
KA_AT(flb_output_instance_v5_1_0, use_tls, 176);
KA_AT(flb_output_instance_v5_1_0, tls_verify, 200);
KA_AT(flb_output_instance_v5_1_0, tls_verify_hostname, 204);
KA_AT(flb_output_instance_v5_1_0, tls_vhost, 216);
KA_AT(flb_output_instance_v5_1_0, tls_key_passwd, 256);
KA_AT(flb_output_instance_v5_1_0, tls_ciphers, 280);
KA_AT(flb_output_instance_v5_1_0, host, 312);
KA_AT(flb_output_instance_v5_1_0, properties, 384);

/* Where the number of workers is; its neighbours change with every release. */
#define FLB_OUTPUT_TP_WORKERS_V2_2_0 640
#define FLB_OUTPUT_TP_WORKERS_V2_2_1 648
#define FLB_OUTPUT_TP_WORKERS_V2_2_2 656
#define FLB_OUTPUT_TP_WORKERS_V3_1_0 664
#define FLB_OUTPUT_TP_WORKERS_V3_2_0 680
#define FLB_OUTPUT_TP_WORKERS_V3_2_2 728
#define FLB_OUTPUT_TP_WORKERS_V4_0_0 752
#define FLB_OUTPUT_TP_WORKERS_V4_0_4 760
#define FLB_OUTPUT_TP_WORKERS_V4_0_6 768
#define FLB_OUTPUT_TP_WORKERS_V5_0_0 832
#define FLB_OUTPUT_TP_WORKERS_V5_0_3 840
#define FLB_OUTPUT_TP_WORKERS_V5_1_0 872

#endif
