/*
 * A stand-in for Fluent Bit: loads the plugin the way the real host does,
 * exports the functions that the plugin looks up, and calls every entry point.
 *
 * Compile it once per version to play, with -rdynamic:
 *   -DHOST_MAJOR=4 -DHOST_MINOR=0 -DHOST_PATCH=0   whose layouts and functions
 *   -DHOST_SAYS='"4.0.0"'                          what it claims to be
 *   -DHOST_MOVES_PROPERTIES=8                      a build with other layouts
 *   -DHOST_MOVES_METRICS=8                         the same behind the properties
 *   -DHOST_GROWS_INPUTS=8                          larger input plugin objects
 *   -DHOST_WITHOUT_CHUNK_TRACE                     a build that cannot trace chunks
 *   -DHOST_WITHOUT_REGEX                           a build without regular expressions
 *
 * Its arguments are commands, done one after the other:
 *   load PATH           load a filter, an input or an output, chosen by the file's name
 *   prop KEY VALUE      an option for the next instance
 *   filter NAME         start a filter under that alias, from the options so far;
 *                       `-` starts one without alias, as all processors are
 *   output NAME         start an output likewise
 *   input NAME          start an input likewise
 *   check NAME          what a hot reload asks of a filter before it stops the old one
 *   lines FILE          chunk: one record {"log": LINE} per line, "-" is stdin
 *   chunk FILE          chunk: the bytes of the file
 *   run NAME            give the chunk to an instance; a filter may replace it
 *   print               the chunk as one JSON text per record
 *   tick NAME           call the collectors of an input: while its descriptor is readable,
 *                       and then once for its interval; what it appends is the chunk
 *   pause NAME          pause an input; `resume NAME` likewise
 *   deliver NAME        end the chunks of an input
 *   stop NAME           end an instance
 *   nulls               call every entry point with null and unknown pointers,
 *                       and the live instances with null data
 *   metrics             all series of the live instances
 *   threads             number of threads of the process
 *   malloc              how the process's malloc aligns
 * Callbacks that see data run on a stack of the host's coroutine size with a
 * guard page below; how much of it they used is printed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "fluent_bit.h"

#define HOST_SINCE(major, minor, patch) \
    (HOST_MAJOR * 10000 + HOST_MINOR * 100 + HOST_PATCH >= (major) * 10000 + (minor) * 100 + (patch))

#define QUOTED(x) #x
#define TEXT(x) QUOTED(x)
#ifndef HOST_SAYS
#define HOST_SAYS TEXT(HOST_MAJOR) "." TEXT(HOST_MINOR) "." TEXT(HOST_PATCH)
#endif
#ifndef HOST_MOVES_PROPERTIES
#define HOST_MOVES_PROPERTIES 0
#endif
#ifndef HOST_MOVES_METRICS
#define HOST_MOVES_METRICS 0
#endif
#ifndef HOST_GROWS_INPUTS
#define HOST_GROWS_INPUTS 0
#endif

#if HOST_SINCE(2, 0, 0) && !defined(HOST_WITHOUT_CHUNK_TRACE)
#define HOST_TRACES_CHUNKS 1
#else
#define HOST_TRACES_CHUNKS 0
#endif

/* ---- layouts of this version ---- */

#if HOST_SINCE(3, 2, 0)
typedef struct flb_filter_plugin_v3_2_0 filter_plugin;
#elif HOST_SINCE(2, 2, 0)
typedef struct flb_filter_plugin_v2_2_0 filter_plugin;
#else
typedef struct flb_filter_plugin_v1_9_0 filter_plugin;
#endif

#if HOST_SINCE(5, 1, 0)
typedef struct flb_input_plugin_v5_1_0 input_plugin;
#elif HOST_SINCE(3, 2, 3)
typedef struct flb_input_plugin_v3_2_3 input_plugin;
#elif HOST_SINCE(3, 2, 0)
typedef struct flb_input_plugin_v3_2_0 input_plugin;
#elif HOST_SINCE(2, 0, 7)
typedef struct flb_input_plugin_v2_0_7 input_plugin;
#elif HOST_SINCE(2, 0, 0)
typedef struct flb_input_plugin_v2_0_0 input_plugin;
#else
typedef struct flb_input_plugin_v1_9_0 input_plugin;
#endif

/*
 * The instances, as the host's headers grew. The plugin knows them by tables of
 * offsets; these are the fields themselves.
 */
typedef struct {
#if HOST_SINCE(2, 1, 0)
    int event_type;
#endif
    int id;
    int log_level;
#if HOST_SINCE(2, 1, 0)
    int log_suppress_interval;
#endif
    char name[32];
    char *alias;
    char *match;
    void *match_regex;
#if HOST_SINCE(2, 1, 4)
    void *parent_processor;
#endif
    void *context;
    void *data;
    void *plugin;
    struct mk_list properties;
    void *config_map;
    struct mk_list _head;
    struct cmt *cmt;
#if HOST_SINCE(2, 0, 0)
    void *cmt_records;
    void *cmt_bytes;
#endif
    void *cmt_add_records;
    void *cmt_drop_records;
#if HOST_SINCE(3, 2, 0)
    void *cmt_drop_bytes;
#endif
    void *metrics;
#if HOST_SINCE(3, 2, 0)
    int notification_channel;
#endif
    struct flb_config *config;
} filter_layout;

typedef struct {
    unsigned char event[72];
#if HOST_SINCE(2, 1, 0)
    void *processor;
#endif
    int event_type;
    int id;
    int log_level;
#if HOST_SINCE(2, 0, 9)
    int log_suppress_interval;
#endif
    char name[32];
    char *alias;
    int flags;
    int test_mode;
    int ch_events[2];
    void *plugin;
    void *context;
    int retry_limit;
#if HOST_SINCE(5, 0, 3)
    int retry_limit_is_set;
#endif
    int use_tls;
    char *match;
    void *match_regex;
    int tls_verify;
#if HOST_SINCE(3, 1, 0)
    int tls_verify_hostname;
#endif
    int tls_debug;
    char *tls_vhost;
    char *tls_ca_path;
    char *tls_ca_file;
    char *tls_crt_file;
    char *tls_key_file;
    char *tls_key_passwd;
#if HOST_SINCE(4, 0, 0)
    char *tls_min_version;
    char *tls_max_version;
    char *tls_ciphers;
#endif
#if HOST_SINCE(5, 1, 0)
    int tls_proxy_verify;
    int tls_proxy_verify_hostname;
    char *tls_proxy_ca_path;
    char *tls_proxy_ca_file;
#endif
    struct {
        int ipv6;
        char *address;
        int port;
        char *name;
        char *listen;
        void *uri;
    } host;
    void *data;
    void *out_context;
    void *tls;
    struct mk_list properties;
} output_layout;

typedef struct {
    unsigned char event[72];
#if HOST_SINCE(2, 1, 0)
    void *processor;
#elif !HOST_SINCE(2, 0, 1)
    int event_type;
#endif
    int flags;
    int id;
#if HOST_TRACES_CHUNKS
    void *chunk_trace_ctxt;
    pthread_mutex_t chunk_trace_lock;
#endif
    int log_level;
#if HOST_SINCE(2, 1, 0)
    int log_suppress_interval;
#endif
    int channel[2];
    int runs_in_coroutine;
    char name[32];
    char *alias;
#if HOST_SINCE(3, 2, 3)
    int test_mode;
#endif
    void *context;
    int ch_events[2];
    void *plugin;
    char *tag;
    int tag_len;
#if HOST_SINCE(2, 1, 2) || (HOST_SINCE(2, 0, 13) && !HOST_SINCE(2, 1, 0))
    int tag_default;
#endif
#if HOST_SINCE(5, 1, 0)
    int telemetry_metrics_logs_tag_records;
#endif
    int routable;
    int storage_pause_on_chunks_overlimit;
    unsigned char host[48];
    void *storage;
    int storage_type;
    size_t mem_chunks_size;
    size_t mp_total_buf_size;
    size_t mem_buf_limit;
    int mem_buf_status;
    int storage_buf_status;
    void *data;
    void *config_map;
    struct mk_list _head;
    struct mk_list routes_direct;
    struct mk_list routes;
    struct mk_list properties;
    struct mk_list collectors;
    struct mk_list chunks;
    struct mk_list chunks_up;
    struct mk_list chunks_down;
    struct mk_list tasks;
    int input_coro_id;
    struct mk_list input_coro_list;
    struct mk_list input_coro_list_destroy;
    void *metrics;
#if HOST_SINCE(3, 2, 3)
    void *test_formatter[6];
#endif
#if HOST_SINCE(2, 0, 0)
    int is_threaded;
    void *thi;
    void *rb;
#endif
#if HOST_SINCE(4, 1, 0)
    size_t ring_buffer_size;
    uint8_t ring_buffer_window;
#endif
#if HOST_SINCE(2, 0, 0)
    struct mk_list upstreams;
    struct mk_list downstreams;
#endif
    struct cmt *cmt;
} input_layout;

/* The number of workers comes much later; the fields between change with every release. */
#if HOST_SINCE(5, 1, 0)
enum { TP_WORKERS = 872 };
#elif HOST_SINCE(5, 0, 3)
enum { TP_WORKERS = 840 };
#elif HOST_SINCE(5, 0, 0)
enum { TP_WORKERS = 832 };
#elif HOST_SINCE(4, 0, 6)
enum { TP_WORKERS = 768 };
#elif HOST_SINCE(4, 0, 4)
enum { TP_WORKERS = 760 };
#elif HOST_SINCE(4, 0, 0)
enum { TP_WORKERS = 752 };
#elif HOST_SINCE(3, 2, 2)
enum { TP_WORKERS = 728 };
#elif HOST_SINCE(3, 2, 0)
enum { TP_WORKERS = 680 };
#elif HOST_SINCE(3, 1, 0)
enum { TP_WORKERS = 664 };
#elif HOST_SINCE(2, 2, 2)
enum { TP_WORKERS = 656 };
#elif HOST_SINCE(2, 2, 1)
enum { TP_WORKERS = 648 };
#else
enum { TP_WORKERS = 640 };
#endif

/* Size of the coroutine's stack, and of a log line's frame. */
#if HOST_SINCE(5, 1, 0)
enum { STACK = 65536, LOG_FRAME = 8704 };
#else
enum { STACK = 24576, LOG_FRAME = 4352 };
#endif
/* What setting a metric takes of it. */
enum { METRIC_FRAME = 2048 };

/* What FLBPluginRegister gets; the part behind 32 bytes is no business of the plugin's. */
struct proxy_def {
    struct flb_plugin_proxy_def def;
    unsigned char behind[32];
};

static void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("host: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

static void *zeroed(size_t size)
{
    void *block = calloc(1, size);

    if (block == NULL) {
        die("out of memory");
    }
    return block;
}

static char *copy(const char *text)
{
    return strcpy(zeroed(strlen(text) + 1), text);
}

/* ---- property lists ---- */

static void list_init(struct mk_list *head)
{
    head->prev = head;
    head->next = head;
}

static void list_add(struct mk_list *node, struct mk_list *head)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static void property_add(struct mk_list *head, const char *key, const char *value)
{
    struct flb_kv *kv = zeroed(sizeof(*kv));

    kv->key = copy(key);
    kv->val = value == NULL ? NULL : copy(value);
    list_add(&kv->_head, head);
}

static const char *property_get(struct mk_list *head, const char *key)
{
    struct mk_list *node;

    for (node = head->next; node != head; node = node->next) {
        struct flb_kv *kv = (struct flb_kv *) ((char *) node - offsetof(struct flb_kv, _head));

        if (strcasecmp(kv->key, key) == 0) {
            return kv->val;
        }
    }
    return NULL;
}

/* ---- instances: room for any layout, plus what moves ---- */

/* A callback at an interval, or while a descriptor is readable. */
struct collector {
    flb_input_call_fn *callback;
    int fd;
    long interval_ms;
    int is_in_loop;
};

enum { COLLECTORS = 2 };

struct instance {
    union {
        filter_layout filter;
        output_layout output;
        input_layout input;
        unsigned char room[1200];
    } is;
    enum { FILTER, OUTPUT, INPUT } kind;
    struct flb_plugin_proxy_context proxy;
    struct collector collectors[COLLECTORS];
    int collector_count;
    struct cmt *cmt;
    struct instance *next;
};

static struct mk_list *filter_properties(filter_layout *ins)
{
    return (struct mk_list *) ((char *) &ins->properties + HOST_MOVES_PROPERTIES);
}

static struct mk_list *output_properties(output_layout *ins)
{
    return (struct mk_list *) ((char *) &ins->properties + HOST_MOVES_PROPERTIES);
}

static struct mk_list *input_properties(input_layout *ins)
{
    return (struct mk_list *) ((char *) &ins->properties + HOST_MOVES_PROPERTIES);
}

static int *output_workers(output_layout *ins)
{
    return (int *) ((char *) ins + TP_WORKERS);
}

/* Metrics that move do so alone: what is before them stays. */
static struct cmt **input_metrics(input_layout *ins)
{
    return (struct cmt **) ((char *) &ins->cmt + HOST_MOVES_METRICS);
}

static struct cmt **filter_metrics(filter_layout *ins)
{
    return (struct cmt **) ((char *) &ins->cmt + HOST_MOVES_METRICS);
}

static struct flb_config **filter_config(filter_layout *ins)
{
    return (struct flb_config **) ((char *) &ins->config + HOST_MOVES_METRICS);
}

/* ---- functions that the plugin looks up ---- */

/* Built-in plugins: the plugin asks for their size. */
filter_plugin filter_stdout_plugin = {.name = "stdout"};
filter_plugin filter_grep_plugin = {.name = "grep"};
struct {
    input_plugin plugin;
    unsigned char more[HOST_GROWS_INPUTS];
} in_dummy_plugin = {.plugin = {.name = "dummy"}};

struct series {
    char name[128];
    char labels[4][64];
    char values[4][64];
    int label_count;
    int is_counter;
    int is_set;
    double value;
    struct series *metric;
    struct series *next;
};

/* The first series of a metric stands for the metric. */
struct cmt {
    char text[256];
    struct series *series;
};

/* Whether label sets may be made. */
static int starting;

cmt_create_fn cmt_create;
cmt_destroy_fn cmt_destroy;
cmt_encode_text_create_fn cmt_encode_text_create;
cmt_encode_text_destroy_fn cmt_encode_text_destroy;
flb_metrics_fluentbit_add_fn flb_metrics_fluentbit_add;
flb_log_print_fn flb_log_print;
flb_filter_get_property_fn flb_filter_get_property;
flb_filter_name_fn flb_filter_name;
flb_filter_set_context_fn flb_filter_set_context;
flb_output_get_property_fn flb_output_get_property;
flb_output_set_property_fn flb_output_set_property;
flb_output_name_fn flb_output_name;
cmt_counter_create_fn cmt_counter_create;
cmt_counter_set_fn cmt_counter_set;
cmt_gauge_create_fn cmt_gauge_create;
cmt_gauge_set_fn cmt_gauge_set;

struct cmt *cmt_create(void)
{
    return zeroed(sizeof(struct cmt));
}

void cmt_destroy(struct cmt *cmt)
{
    while (cmt->series != NULL) {
        struct series *series = cmt->series;

        cmt->series = series->next;
        memset(series, 0xa5, sizeof(*series));
        free(series);
    }
    free(cmt);
}

static struct series *series_add(struct cmt *cmt)
{
    struct series **at = &cmt->series;

    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = zeroed(sizeof(**at));
    return *at;
}

static struct series *metric_create(struct cmt *cmt, const char *ns, const char *subsystem,
                                    const char *name, const char *help, int label_count,
                                    char **labels)
{
    struct series *metric = series_add(cmt);
    struct series *other;
    int i;

    if (!starting || label_count < 1 || label_count > 4 || *help == '\0') {
        die("metric %s is made the wrong way", name);
    }
    snprintf(metric->name, sizeof(metric->name), "%s_%s_%s", ns, subsystem, name);
    for (other = cmt->series; other != metric; other = other->next) {
        if (strcmp(other->name, metric->name) == 0) {
            die("metric %s is made twice", name);
        }
    }
    for (i = 0; i < label_count; i++) {
        snprintf(metric->labels[i], sizeof(metric->labels[i]), "%s", labels[i]);
    }
    metric->label_count = label_count;
    metric->metric = metric;
    return metric;
}

static int same_labels(const struct series *series, char **values)
{
    int i;

    for (i = 0; i < series->label_count; i++) {
        if (strcmp(series->values[i], values[i]) != 0) {
            return 0;
        }
    }
    return 1;
}

static int metric_set(struct series *metric, uint64_t timestamp, double value, int label_count,
                      char **values)
{
    /* The lists before 5.1.0 are not locked, and nor are these. */
    volatile char frame[METRIC_FRAME];
    struct series *series;
    int i;

    memset((char *) frame, 0, sizeof(frame));
    if (gettid() != getpid() || label_count != metric->label_count || timestamp < 1700000000000000000) {
        die("%s is set the wrong way", metric->name);
    }
    for (series = metric; series != NULL; series = series->next) {
        if (series->metric == metric && series->is_set && same_labels(series, values)) {
            if (metric->is_counter && value < series->value) {
                return -1;
            }
            series->value = value;
            return 0;
        }
    }
    if (!starting) {
        die("%s gets a new label set", metric->name);
    }
    series = metric;
    if (metric->is_set) {
        struct series *rest = metric->next;

        series = zeroed(sizeof(*series));
        *series = *metric;
        metric->next = series;
        series->next = rest;
    }
    for (i = 0; i < label_count; i++) {
        snprintf(series->values[i], sizeof(series->values[i]), "%s", values[i]);
    }
    series->is_set = 1;
    series->value = value;
    return 0;
}

struct cmt_counter *cmt_counter_create(struct cmt *cmt, char *ns, char *subsystem, char *name,
                                       char *help, int label_count, char **label_keys)
{
    struct series *metric = metric_create(cmt, ns, subsystem, name, help, label_count, label_keys);

    metric->is_counter = 1;
    return (struct cmt_counter *) metric;
}

int cmt_counter_set(struct cmt_counter *counter, uint64_t timestamp, double value, int label_count,
                    char **label_values)
{
    return metric_set((struct series *) counter, timestamp, value, label_count, label_values);
}

struct cmt_gauge *cmt_gauge_create(struct cmt *cmt, char *ns, char *subsystem, char *name,
                                   char *help, int label_count, char **label_keys)
{
    return (struct cmt_gauge *) metric_create(cmt, ns, subsystem, name, help, label_count,
                                              label_keys);
}

int cmt_gauge_set(struct cmt_gauge *gauge, uint64_t timestamp, double value, int label_count,
                  char **label_values)
{
    return metric_set((struct series *) gauge, timestamp, value, label_count, label_values);
}

#if HOST_SINCE(2, 0, 0)
flb_output_get_cmt_instance_fn flb_output_get_cmt_instance;

void *flb_output_get_cmt_instance(struct flb_output_instance *ins)
{
    return ((struct instance *) ins)->cmt;
}
#endif

char *cmt_encode_text_create(struct cmt *cmt)
{
    return copy(cmt->text);
}

void cmt_encode_text_destroy(char *text)
{
    free(text);
}

int flb_metrics_fluentbit_add(struct flb_config *config, struct cmt *cmt)
{
    /* The largest configuration has 18.6 KB. */
    unsigned char init_time = *((unsigned char *) config + 18600);

    snprintf(cmt->text, sizeof(cmt->text),
             "fluentbit_build_info{hostname=\"h\",version=\"%s\",os=\"linux\"} = %d\n", HOST_SAYS,
             init_time);
    return 0;
}

#ifndef HOST_WITHOUT_REGEX
/* A pattern is plain text, and wrong with a parenthesis in it: the C library's own
 * expressions take more stack than a coroutine has. */
struct flb_regex {
    char *text;
};

flb_regex_create_fn flb_regex_create;
flb_regex_match_fn flb_regex_match;
flb_regex_destroy_fn flb_regex_destroy;

struct flb_regex *flb_regex_create(const char *pattern)
{
    struct flb_regex *regex;

    if (strpbrk(pattern, "()") != NULL) {
        return NULL;
    }
    regex = zeroed(sizeof(*regex));
    regex->text = copy(pattern);
    return regex;
}

int flb_regex_match(struct flb_regex *regex, unsigned char *text, size_t size)
{
    return memmem(text, size, regex->text, strlen(regex->text)) != NULL;
}

int flb_regex_destroy(struct flb_regex *regex)
{
    free(regex->text);
    free(regex);
    return 0;
}
#endif

int flb_log_print(int type, const char *file, int line, const char *format, ...)
{
    static const char *const names[] = {"off", "error", "warn", "info", "debug"};
    char text[LOG_FRAME];
    size_t used;
    va_list args;

    (void) file;
    (void) line;
    used = (size_t) sprintf(text, "[%5s] ", type >= 1 && type <= 4 ? names[type] : "?");
    va_start(args, format);
    used += (size_t) vsnprintf(text + used, sizeof(text) - used - 1, format, args);
    va_end(args);
    used = used < sizeof(text) - 2 ? used : sizeof(text) - 2;
    text[used++] = '\n';
    return write(STDERR_FILENO, text, used) == (ssize_t) used ? 0 : -1;
}

const char *flb_filter_get_property(const char *key, struct flb_filter_instance *ins)
{
    return property_get(filter_properties((filter_layout *) ins), key);
}

const char *flb_filter_name(struct flb_filter_instance *opaque)
{
    filter_layout *ins = (filter_layout *) opaque;

    return ins->alias != NULL ? ins->alias : ins->name;
}

void flb_filter_set_context(struct flb_filter_instance *ins, void *context)
{
    ((filter_layout *) ins)->context = context;
}

const char *flb_output_get_property(const char *key, struct flb_output_instance *ins)
{
    return property_get(output_properties((output_layout *) ins), key);
}

const char *flb_output_name(struct flb_output_instance *opaque)
{
    output_layout *ins = (output_layout *) opaque;

    return ins->alias != NULL ? ins->alias : ins->name;
}

static int is_on(const char *value)
{
    return strcasecmp(value, "on") == 0 || strcasecmp(value, "true") == 0;
}

static int log_level(const char *value)
{
    return strcasecmp(value, "debug") == 0  ? FLB_LOG_DEBUG
           : strcasecmp(value, "warn") == 0 ? FLB_LOG_WARN
           : strcasecmp(value, "error") == 0 ? FLB_LOG_ERROR
                                             : FLB_LOG_INFO;
}

int flb_output_set_property(struct flb_output_instance *opaque, const char *key, const char *value)
{
    output_layout *ins = (output_layout *) opaque;

    if (strcasecmp(key, "host") == 0) {
        ins->host.name = *value == '\0' ? NULL : copy(value);
    }
    else if (strcasecmp(key, "port") == 0) {
        ins->host.port = atoi(value);
    }
    else if (strcasecmp(key, "retry_limit") == 0) {
#if HOST_SINCE(5, 0, 3)
        ins->retry_limit_is_set = 1;
#endif
        ins->retry_limit = strcasecmp(value, "no_limits") == 0    ? FLB_OUT_RETRY_UNLIMITED
                           : strcasecmp(value, "no_retries") == 0 ? FLB_OUT_RETRY_NONE
                                                                  : atoi(value);
    }
    else if (strcasecmp(key, "workers") == 0) {
        *output_workers(ins) = atoi(value);
    }
    else if (strcasecmp(key, "log_level") == 0) {
        ins->log_level = log_level(value);
    }
    else if (strcasecmp(key, "tls") == 0) {
        ins->use_tls = is_on(value);
        if (ins->use_tls && (ins->flags & FLB_IO_OPT_TLS) == 0) {
            die("tls on an output without TLS");
        }
    }
    else if (strcasecmp(key, "tls.verify") == 0) {
        ins->tls_verify = is_on(value);
    }
    else if (strcasecmp(key, "tls.ca_file") == 0) {
        ins->tls_ca_file = copy(value);
    }
    else {
        property_add(output_properties(ins), key, *value == '\0' ? NULL : value);
    }
    return 0;
}

/* Functions that came with a version; their presence is all that counts. */
#define MARKER(name) \
    void name(void); \
    void name(void) {}
#if HOST_SINCE(1, 9, 3)
MARKER(flb_ra_update_kv_pair)
#endif
#if HOST_TRACES_CHUNKS
MARKER(flb_chunk_trace_do_input)
#endif
#if HOST_SINCE(2, 0, 9)
MARKER(flb_log_cache_create)
#endif
#if HOST_SINCE(2, 1, 0)
MARKER(flb_filter_init)
#endif
#if HOST_SINCE(2, 1, 4)
MARKER(flb_input_log_append_skip_processor_stages)
#endif
#if HOST_SINCE(2, 2, 0)
MARKER(flb_proxy_output_cb_init)
#endif
#if HOST_SINCE(3, 1, 0)
MARKER(flb_tls_set_verify_hostname)
#endif
#if HOST_SINCE(3, 2, 0)
MARKER(flb_notification_enqueue)
#endif
#if HOST_SINCE(4, 0, 0)
MARKER(flb_tls_set_minmax_proto)
#endif
#if HOST_SINCE(5, 0, 3)
MARKER(flb_config_map_get_raw)
#endif
#if HOST_SINCE(5, 1, 0)
MARKER(flb_output_proxy_tls_ca_check)
#endif

/* ---- the plugins loaded, and their instances ---- */

typedef int register_fn(struct flb_plugin_proxy_def *def);
typedef int init_fn(struct flbgo_output_plugin *plugin);
typedef int flush_fn(void *context, const void *data, size_t size, char *tag);
typedef int exit_fn(void *context);

static filter_plugin filter;
static input_plugin input;
static struct {
    struct proxy_def def;
    init_fn *init;
    flush_fn *flush;
    exit_fn *exit;
} output;
static struct instance *instances;
static struct {
    char *data;
    size_t size;
} chunk;

static void *entry_point(void *library, const char *name)
{
    void *symbol = dlsym(library, name);

    if (symbol == NULL) {
        die("the library has no %s", name);
    }
    return symbol;
}

static void load(const char *path)
{
    const char *file = strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;
    void *library = dlopen(path, RTLD_LAZY);
    size_t length = strlen(file);
    char name[256];
    register_fn *registers;
    int answer;
    size_t i;

    if (library == NULL) {
        die("%s", dlerror());
    }
    if (strncmp(file, "flb-", 4) == 0) {
        snprintf(name, sizeof(name), "%.*s_plugin", (int) (length - 7), file + 4);
        if (strncmp(name, "in_", 3) == 0) {
            memcpy(&input, entry_point(library, name), sizeof(input));
            printf("load: input %s\n", input.name);
            return;
        }
        memcpy(&filter, entry_point(library, name), sizeof(filter));
        printf("load: filter %s\n", filter.name);
        return;
    }
    registers = (register_fn *) entry_point(library, "FLBPluginRegister");
    memset(&output.def, 0xa5, sizeof(output.def));
    output.def.def.type = FLB_PROXY_OUTPUT_PLUGIN;
    answer = registers(&output.def.def);
    for (i = 0; i < sizeof(output.def.behind); i++) {
        if (output.def.behind[i] != 0xa5) {
            die("FLBPluginRegister wrote behind the definition");
        }
    }
    if (answer == -1) {
        printf("load: refused\n");
        return;
    }
    output.init = (init_fn *) entry_point(library, "FLBPluginInit");
    output.flush = (flush_fn *) entry_point(library, "FLBPluginFlushCtx");
    output.exit = (exit_fn *) entry_point(library, "FLBPluginExitCtx");
    printf("load: output %s, type %d, proxy %d, flags %d\n", output.def.def.name,
           output.def.def.type, output.def.def.proxy, output.def.def.flags);
}

/* Never looked into. */
#define THE_CONFIG ((struct flb_config *) &options)

/* Options come before the kind is known, so they wait as pairs. */
static struct mk_list options = {&options, &options};

/* ---- inputs ---- */

flb_input_get_property_fn flb_input_get_property;
flb_input_set_property_fn flb_input_set_property;
flb_input_name_fn flb_input_name;
flb_input_set_context_fn flb_input_set_context;
flb_input_set_collector_time_fn flb_input_set_collector_time;
flb_input_set_collector_event_fn flb_input_set_collector_event;
flb_input_collector_pause_fn flb_input_collector_pause;

const char *flb_input_get_property(const char *key, struct flb_input_instance *ins)
{
    return property_get(input_properties((input_layout *) ins), key);
}

const char *flb_input_name(struct flb_input_instance *opaque)
{
    input_layout *ins = (input_layout *) opaque;

    return ins->alias != NULL ? ins->alias : ins->name;
}

void flb_input_set_context(struct flb_input_instance *ins, void *context)
{
    ((input_layout *) ins)->context = context;
}

int flb_input_set_property(struct flb_input_instance *opaque, const char *key, const char *value)
{
    input_layout *ins = (input_layout *) opaque;

    if (strcasecmp(key, "tag") == 0) {
        ins->tag = copy(value);
        ins->tag_len = (int) strlen(value);
    }
    else if (strcasecmp(key, "log_level") == 0) {
        ins->log_level = log_level(value);
    }
    else if (strcasecmp(key, "mem_buf_limit") == 0) {
        ins->mem_buf_limit = (size_t) atol(value);
    }
    else if (strcasecmp(key, "storage.type") == 0) {
        ins->storage_type = strcasecmp(value, "filesystem") == 0 ? FLB_STORAGE_FS : 1;
    }
#if HOST_SINCE(2, 0, 0)
    else if (strcasecmp(key, "threaded") == 0) {
        ins->is_threaded = is_on(value);
    }
#endif
    else {
        property_add(input_properties(ins), key, value);
    }
    return 0;
}

static int collector_add(struct flb_input_instance *opaque, struct collector collector)
{
    struct instance *ins = (struct instance *) opaque;

    if (ins->collector_count == COLLECTORS) {
        die("too many collectors");
    }
    collector.is_in_loop = 1;
    ins->collectors[ins->collector_count] = collector;
    return ins->collector_count++;
}

int flb_input_set_collector_time(struct flb_input_instance *ins, flb_input_call_fn *callback,
                                 time_t seconds, long nanoseconds, struct flb_config *config)
{
    struct collector collector = {callback, -1, seconds * 1000 + nanoseconds / 1000000, 0};

    if (config != THE_CONFIG) {
        die("a collector of another configuration");
    }
    return collector_add(ins, collector);
}

int flb_input_set_collector_event(struct flb_input_instance *ins, flb_input_call_fn *callback,
                                  int fd, struct flb_config *config)
{
    struct collector collector = {callback, fd, 0, 0};

    if (config != THE_CONFIG) {
        die("a collector of another configuration");
    }
    return collector_add(ins, collector);
}

int flb_input_collector_pause(int collector, struct flb_input_instance *ins)
{
    ((struct instance *) ins)->collectors[collector].is_in_loop = 0;
    return 0;
}

/* The beginning of a chunk of the host; each append makes one here. */
struct input_chunk {
    int event_type;
    struct mk_list _head;
    size_t size;
};

static int append(struct flb_input_instance *opaque, const char *tag, const void *records,
                  size_t size)
{
    input_layout *ins = (input_layout *) opaque;
    struct input_chunk *made;

    if (ins->mem_buf_status || size == 0 || tag != NULL) {
        return -1;
    }
    chunk.data = realloc(chunk.data, chunk.size + size);
    memcpy(chunk.data + chunk.size, records, size);
    chunk.size += size;
    made = zeroed(sizeof(*made));
    made->size = size;
    list_add(&made->_head, &ins->chunks);
    ins->mem_chunks_size += size;
    if (ins->mem_buf_limit > 0 && ins->mem_chunks_size >= ins->mem_buf_limit) {
        ins->mem_buf_status = 1;
        input.cb_pause(ins->context, THE_CONFIG);
    }
    return 0;
}

#if HOST_SINCE(2, 0, 0)
flb_input_append_fn flb_input_log_append;
flb_input_get_cmt_instance_fn flb_input_get_cmt_instance;
void flb_input_chunk_append_raw(void);

int flb_input_log_append(struct flb_input_instance *ins, const char *tag, size_t tag_len,
                         const void *records, size_t size)
{
    (void) tag_len;
    return append(ins, tag, records, size);
}

void *flb_input_get_cmt_instance(struct flb_input_instance *ins)
{
    return *input_metrics((input_layout *) ins);
}

/* Takes other arguments than before. */
void flb_input_chunk_append_raw(void)
{
    die("flb_input_chunk_append_raw was called");
}
#else
flb_input_append_fn flb_input_chunk_append_raw;

int flb_input_chunk_append_raw(struct flb_input_instance *ins, const char *tag, size_t tag_len,
                               const void *records, size_t size)
{
    (void) tag_len;
    return append(ins, tag, records, size);
}
#endif

static struct instance *instance_start(const char *alias, int kind)
{
    struct instance *ins = zeroed(sizeof(*ins));
    struct mk_list *node;

    ins->kind = kind;
    ins->cmt = cmt_create();
    if (kind == FILTER) {
        list_init(filter_properties(&ins->is.filter));
        snprintf(ins->is.filter.name, sizeof(ins->is.filter.name), "kube_audit.0");
        ins->is.filter.alias = strcmp(alias, "-") == 0 ? NULL : copy(alias);
        ins->is.filter.log_level = FLB_LOG_INFO;
        *filter_metrics(&ins->is.filter) = ins->cmt;
        *filter_config(&ins->is.filter) = THE_CONFIG;
    }
    else if (kind == INPUT) {
        list_init(input_properties(&ins->is.input));
        list_init(&ins->is.input.chunks);
        snprintf(ins->is.input.name, sizeof(ins->is.input.name), "kube_audit.0");
        ins->is.input.alias = strcmp(alias, "-") == 0 ? NULL : copy(alias);
        ins->is.input.log_level = FLB_LOG_INFO;
        ins->is.input.storage_type = 1;
        *input_metrics(&ins->is.input) = ins->cmt;
    }
    else {
        list_init(output_properties(&ins->is.output));
        snprintf(ins->is.output.name, sizeof(ins->is.output.name), "kube_audit.0");
        ins->is.output.alias = copy(alias);
        ins->is.output.log_level = FLB_LOG_INFO;
        ins->is.output.flags = output.def.def.flags;
        ins->is.output.retry_limit = FLB_OUT_RETRY_DEFAULT;
        ins->is.output.tls_verify = 1;
    }
    for (node = options.next; node != &options; node = node->next) {
        struct flb_kv *kv = (struct flb_kv *) ((char *) node - offsetof(struct flb_kv, _head));

        if (kind == INPUT) {
            flb_input_set_property((struct flb_input_instance *) ins, kv->key, kv->val);
        }
        else if (kind == OUTPUT) {
            flb_output_set_property((struct flb_output_instance *) ins, kv->key, kv->val);
        }
        else if (strcasecmp(kv->key, "log_level") == 0) {
            ins->is.filter.log_level = log_level(kv->val);
        }
        else {
            property_add(filter_properties(&ins->is.filter), kv->key, kv->val);
        }
    }
    list_init(&options);
    return ins;
}

static int filter_check(struct instance *ins)
{
#if HOST_SINCE(2, 2, 0)
    return filter.cb_pre_run((struct flb_filter_instance *) ins, NULL, NULL);
#else
    (void) ins;
    return 0;
#endif
}

static void filter_start(const char *name)
{
    struct instance *ins = instance_start(name, FILTER);
    int checked = filter_check(ins);
    int started = -1;

    if (checked == 0) {
        starting = 1;
        started = filter.cb_init((struct flb_filter_instance *) ins, THE_CONFIG, NULL);
        starting = 0;
    }
    printf("filter %s: pre_run %d, init %d\n", name, checked, started);
    if (started == 0) {
        ins->next = instances;
        instances = ins;
    }
}

static void output_start(const char *name)
{
    struct instance *ins = instance_start(name, OUTPUT);
    struct flbgo_output_plugin plugin = {0};
    int started;

    if (output.init == NULL) {
        die("no output plugin");
    }
    ins->is.output.context = &ins->proxy;
    plugin.o_ins = (struct flb_output_instance *) ins;
    plugin.context = &ins->proxy;
    starting = 1;
    started = output.init(&plugin);
    starting = 0;
    memset(&plugin, 0xa5, sizeof(plugin));
    printf("output %s: init %d, retry_limit %d, workers %d\n", name, started,
           ins->is.output.retry_limit, *output_workers(&ins->is.output));
    if (started > 0) {
        ins->next = instances;
        instances = ins;
    }
}

static void input_start(const char *name)
{
    struct instance *ins = instance_start(name, INPUT);
    input_layout *layout = &ins->is.input;
    int started;

    if (layout->tag == NULL) {
        flb_input_set_property((struct flb_input_instance *) ins, "tag", layout->name);
    }
    starting = 1;
    started = input.cb_init((struct flb_input_instance *) ins, THE_CONFIG, NULL);
    starting = 0;
    printf("input %s: init %d, tag %s, every %ld ms\n", name, started, layout->tag,
           ins->collectors[0].interval_ms);
    if (started == 0) {
        if (ins->collector_count != COLLECTORS || ins->collectors[1].fd < 0) {
            die("other collectors than a timer and a descriptor");
        }
        ins->next = instances;
        instances = ins;
    }
}

static struct instance **find(const char *name)
{
    struct instance **at;

    for (at = &instances; *at != NULL; at = &(*at)->next) {
        struct instance *ins = *at;

        const char *alias = ins->kind == FILTER  ? ins->is.filter.alias
                            : ins->kind == INPUT ? ins->is.input.alias
                                                 : ins->is.output.alias;

        if (strcmp(alias == NULL ? "-" : alias, name) == 0) {
            return at;
        }
    }
    die("no instance %s", name);
    return NULL;
}

/* ---- the engine: calls on small stacks, and a loop for those that wait ---- */

/* A stack; the first is the process's own. */
struct stack {
    ucontext_t context;
    unsigned char *memory;
};

enum { GUARD = 65536, PAINT = 0x5c };

static struct stack engine_stack;
static struct stack *active = &engine_stack;
/* What a flush looks up when it returns. */
static struct flb_coro *resumed;

/* The only watched descriptor of each output. */
struct mk_event_loop {
    struct mk_event *events[8];
};
static struct mk_event_loop event_loop;

flb_engine_evl_get_fn flb_engine_evl_get;
mk_event_add_fn mk_event_add;
mk_event_del_fn mk_event_del;
co_active_fn co_active;
co_switch_fn co_switch;
flb_coro_get_fn flb_coro_get;
flb_coro_set_fn flb_coro_set;

struct mk_event_loop *flb_engine_evl_get(void)
{
    return &event_loop;
}

static struct mk_event **event_place(struct mk_event_loop *loop, struct mk_event *event)
{
    size_t i;

    for (i = 0; i < sizeof(loop->events) / sizeof(loop->events[0]); i++) {
        if (loop->events[i] == event) {
            return &loop->events[i];
        }
    }
    die("no such event");
    return NULL;
}

int mk_event_add(struct mk_event_loop *loop, int fd, int type, uint32_t mask, void *data)
{
    struct mk_event *event = data;

    if (active != &engine_stack || type != MK_EVENT_CUSTOM || mask != MK_EVENT_READ ||
        event->mask != MK_EVENT_EMPTY || event->handler == NULL) {
        die("mk_event_add was called as no host is");
    }
    event->fd = fd;
    event->type = type;
    event->mask = mask;
    *event_place(loop, NULL) = event;
    return 0;
}

int mk_event_del(struct mk_event_loop *loop, struct mk_event *event)
{
    if (active != &engine_stack) {
        die("mk_event_del was called in a coroutine");
    }
    *event_place(loop, event) = NULL;
    return 0;
}

void *co_active(void)
{
    return active;
}

void co_switch(void *stack)
{
    struct stack *from = active;

    active = stack;
    swapcontext(&from->context, &active->context);
}

struct flb_coro *flb_coro_get(void)
{
    return resumed;
}

void flb_coro_set(struct flb_coro *coro)
{
    resumed = coro;
}

/* Waits for watched descriptors, and calls their handlers. */
static void loop_once(void)
{
    enum { MOST = sizeof(event_loop.events) / sizeof(event_loop.events[0]) };
    struct pollfd fds[MOST];
    int i;

    for (i = 0; i < MOST; i++) {
        fds[i].fd = event_loop.events[i] == NULL ? -1 : event_loop.events[i]->fd;
        fds[i].events = POLLIN;
    }
    if (poll(fds, MOST, 30000) <= 0) {
        die("nothing has come of a flush");
    }
    for (i = 0; i < MOST; i++) {
        if (fds[i].fd != -1 && fds[i].revents != 0) {
            event_loop.events[i]->handler(event_loop.events[i]);
        }
    }
}

static struct {
    struct instance *ins;
    char tag[8];
    int is_done;
    int answer;
    void *out;
    size_t out_size;
} call;

static void call_now(void)
{
    struct instance *ins = call.ins;

    if (ins->kind == FILTER) {
        call.out = (void *) 1;
        call.out_size = 1;
        call.answer = filter.cb_filter(chunk.data, chunk.size, call.tag, (int) strlen(call.tag),
                                       &call.out, &call.out_size,
                                       (struct flb_filter_instance *) ins, NULL,
                                       ins->is.filter.context, NULL);
    }
    else {
        call.answer = output.flush(ins->proxy.remote_context, chunk.data, chunk.size, call.tag);
        if (resumed != (struct flb_coro *) active) {
            die("a flush returned in another coroutine than it was resumed in");
        }
    }
    call.is_done = 1;
    co_switch(&engine_stack);
}

/* Calls on a fresh stack; the result is how many bytes of it were touched. */
static size_t call_on_stack(void)
{
    struct stack stack;
    size_t free_bytes = 0;

    stack.memory = mmap(NULL, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                        -1, 0);
    if (stack.memory == MAP_FAILED || mprotect(stack.memory, GUARD, PROT_NONE) != 0) {
        die("no stack");
    }
    memset(stack.memory + GUARD, PAINT, STACK);
    getcontext(&stack.context);
    stack.context.uc_stack.ss_sp = stack.memory + GUARD;
    stack.context.uc_stack.ss_size = STACK;
    stack.context.uc_link = NULL;
    makecontext(&stack.context, call_now, 0);
    call.is_done = 0;
    resumed = (struct flb_coro *) &stack;
    co_switch(&stack);
    while (!call.is_done) {
        resumed = NULL;
        loop_once();
    }
    while (free_bytes < STACK && stack.memory[GUARD + free_bytes] == PAINT) {
        free_bytes++;
    }
    munmap(stack.memory, GUARD + STACK);
    return STACK - free_bytes;
}

static void run(const char *name)
{
    struct instance *ins = *find(name);
    size_t used;

    call.ins = ins;
    strcpy(call.tag, "audit");
    used = call_on_stack();
    if (ins->kind == OUTPUT) {
        printf("run %s: %s\n", name,
               call.answer == FLB_OK      ? "ok"
               : call.answer == FLB_RETRY ? "retry"
                                          : "error");
    }
    else if (call.answer == FLB_FILTER_NOTOUCH) {
        printf("run %s: notouch\n", name);
    }
    else if (call.answer == FLB_FILTER_MODIFIED) {
        printf("run %s: modified, %zu bytes instead of %zu\n", name, call.out_size, chunk.size);
        if (call.out_size == 0 && call.out != NULL) {
            die("a block of no bytes leaks in some hosts");
        }
        free(chunk.data);
        chunk.data = call.out;
        chunk.size = call.out_size;
    }
    else {
        die("cb_filter answered %d", call.answer);
    }
    printf("stack: %zu of %d bytes\n", used, STACK);
}

/* Calls the collectors of an input, as often as the loop would at once. */
static void tick(const char *name)
{
    enum { MOST = 1000 };
    struct instance *ins = *find(name);
    size_t before = chunk.size;
    struct mk_list *node;
    int chunks = 0;
    int calls = 0;
    int i;

    if (ins->kind != INPUT) {
        die("%s is no input", name);
    }
    for (i = COLLECTORS - 1; i >= 0; i--) {
        struct collector *collector = &ins->collectors[i];
        struct pollfd fd = {.fd = collector->fd, .events = POLLIN};

        while (collector->is_in_loop && calls < MOST) {
            if (collector->fd >= 0 && poll(&fd, 1, 0) == 0) {
                break;
            }
            collector->callback((struct flb_input_instance *) ins, THE_CONFIG,
                                ins->is.input.context);
            calls++;
            if (collector->fd < 0) {
                break;
            }
        }
    }
    for (node = ins->is.input.chunks.next; node != &ins->is.input.chunks; node = node->next) {
        chunks++;
    }
    printf("tick %s: %d calls, %zu bytes, %d chunks\n", name, calls, chunk.size - before, chunks);
}

/* Pauses an input, or lets it go on. */
static void pause_input(const char *name, int is_paused)
{
    struct instance *ins = *find(name);

    ins->is.input.mem_buf_status = is_paused;
    (is_paused ? input.cb_pause : input.cb_resume)(ins->is.input.context, THE_CONFIG);
}

/* All outputs are done with the chunks of an input. */
static void deliver(const char *name)
{
    struct instance *ins = *find(name);

    list_init(&ins->is.input.chunks);
    ins->is.input.mem_chunks_size = 0;
}

static void stop(const char *name)
{
    struct instance **at = find(name);
    struct instance *ins = *at;

    *at = ins->next;
    if (ins->kind == OUTPUT) {
        printf("stop %s: %d\n", name, output.exit(ins->proxy.remote_context));
    }
    else if (ins->kind == INPUT) {
        printf("stop %s: %d\n", name, input.cb_exit(ins->is.input.context, THE_CONFIG));
        if (ins->collectors[1].is_in_loop) {
            die("a closed descriptor is in the loop");
        }
    }
    else if (ins->is.filter.context != NULL) {
        printf("stop %s: %d\n", name, filter.cb_exit(ins->is.filter.context, NULL));
    }
    cmt_destroy(ins->cmt);
}

static void metrics(void)
{
    struct instance *ins;
    struct series *series;
    int i;

    for (ins = instances; ins != NULL; ins = ins->next) {
        for (series = ins->cmt->series; series != NULL; series = series->next) {
            printf("%s %s{", series->metric->is_counter ? "counter" : "gauge", series->name);
            for (i = 0; i < series->label_count; i++) {
                printf("%s%s=\"%s\"", i > 0 ? "," : "", series->labels[i], series->values[i]);
            }
            printf("} = %.0f\n", series->value);
        }
    }
}

static void nulls(void)
{
    char data[] = "\x92";
    char tag[] = "t";
    void *unknown = &data;
    void *out = NULL;
    size_t size = 0;
    struct instance *ins;

    for (ins = instances; ins != NULL; ins = ins->next) {
        if (ins->kind == FILTER) {
            printf("live filter: %d %d\n",
                   filter.cb_filter(NULL, 0, NULL, 0, &out, &size, NULL, NULL,
                                    ins->is.filter.context, NULL),
                   filter.cb_filter(data, 1, tag, 1, NULL, NULL, NULL, NULL,
                                    ins->is.filter.context, NULL));
        }
        else if (ins->kind == INPUT) {
            printf("live input: %d %d\n", ins->collectors[0].callback(NULL, NULL, NULL),
                   ins->collectors[0].callback(NULL, NULL, unknown));
        }
        else {
            printf("live output: %d\n", output.flush(ins->proxy.remote_context, NULL, 0, NULL));
        }
    }
    if (filter.name != NULL) {
#if HOST_SINCE(2, 2, 0)
        printf("pre_run: %d\n", filter.cb_pre_run(NULL, NULL, NULL));
#endif
        printf("init: %d\n", filter.cb_init(NULL, NULL, NULL));
        printf("filter: %d %d %d\n",
               filter.cb_filter(NULL, 0, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL),
               filter.cb_filter(data, 1, tag, 1, &out, &size, NULL, NULL, unknown, NULL),
               filter.cb_filter(data, 1, tag, -1, &out, &size, NULL, NULL, NULL, NULL));
        printf("exit: %d %d\n", filter.cb_exit(NULL, NULL), filter.cb_exit(unknown, NULL));
    }
    if (input.name != NULL) {
        input.cb_pause(NULL, NULL);
        input.cb_resume(unknown, NULL);
        printf("input: %d %d %d\n", input.cb_init(NULL, NULL, NULL), input.cb_exit(NULL, NULL),
               input.cb_exit(unknown, NULL));
    }
    if (output.init != NULL) {
        struct flbgo_output_plugin plugin = {0};

        printf("Init: %d %d\n", output.init(NULL), output.init(&plugin));
        printf("FlushCtx: %d %d %d\n", output.flush(NULL, NULL, 0, NULL),
               output.flush(unknown, data, 1, tag), output.flush(NULL, data, 1, tag));
        printf("ExitCtx: %d %d\n", output.exit(NULL), output.exit(unknown));
    }
}

/* ---- chunks ---- */

static void put_u32(unsigned long number, FILE *out)
{
    int shift;

    for (shift = 24; shift >= 0; shift -= 8) {
        putc((int) (number >> shift & 0xff), out);
    }
}

/* Begins a new chunk; its memory is the C allocator's. */
static FILE *new_chunk(void)
{
    FILE *out;

    free(chunk.data);
    out = open_memstream(&chunk.data, &chunk.size);
    if (out == NULL) {
        die("out of memory");
    }
    return out;
}

static FILE *opened(const char *path)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");

    if (file == NULL) {
        die("%s can't be read", path);
    }
    return file;
}

/* Records as this version's tail input makes them. */
static void lines(const char *path)
{
    FILE *file = opened(path);
    FILE *out = new_chunk();
    char *line = NULL;
    size_t room = 0;
    ssize_t length;

    while ((length = getline(&line, &room, file)) > 0) {
        length -= line[length - 1] == '\n';
#if HOST_SINCE(2, 1, 0)
        fwrite("\x92\x92\xd7\x00", 1, 4, out);
#else
        fwrite("\x92\xd7\x00", 1, 3, out);
#endif
        put_u32(1700000000, out);
        put_u32(123456789, out);
#if HOST_SINCE(2, 1, 0)
        fwrite("\x80", 1, 1, out);
#endif
        fwrite("\x81\xa3log\xdb", 1, 6, out);
        put_u32((unsigned long) length, out);
        fwrite(line, 1, (size_t) length, out);
    }
    free(line);
    fclose(out);
}

static void bytes(const char *path)
{
    FILE *file = opened(path);
    FILE *out = new_chunk();
    char block[4096];
    size_t size;

    while ((size = fread(block, 1, sizeof(block), file)) > 0) {
        fwrite(block, 1, size, out);
    }
    fclose(out);
}

static struct {
    const unsigned char *at;
    const unsigned char *end;
} reader;

static unsigned long take(int bytes)
{
    unsigned long number = 0;

    if (reader.end - reader.at < bytes) {
        die("the chunk ends inside a record");
    }
    while (bytes-- > 0) {
        number = number << 8 | *reader.at++;
    }
    return number;
}

static void print_text(unsigned long length)
{
    putchar('"');
    while (length-- > 0) {
        unsigned char c = (unsigned char) take(1);

        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        }
        else if (c < 0x20) {
            printf("\\u%04x", c);
        }
        else {
            putchar(c);
        }
    }
    putchar('"');
}

static void print_value(int depth);

static void print_items(unsigned long count, int is_map, int depth)
{
    unsigned long i;

    putchar(is_map ? '{' : '[');
    for (i = 0; i < count; i++) {
        if (i > 0) {
            putchar(',');
        }
        print_value(depth + 1);
        if (is_map) {
            putchar(':');
            print_value(depth + 1);
        }
    }
    putchar(is_map ? '}' : ']');
}

static void print_ext(unsigned long length)
{
    unsigned long type = take(1);

    if (type == 0 && length == 8) {
        unsigned long seconds = take(4);

        printf("%lu.%09lu", seconds, take(4));
        return;
    }
    printf("\"ext %lu, %lu bytes\"", type, length);
    while (length-- > 0) {
        take(1);
    }
}

static void print_value(int depth)
{
    unsigned long head = take(1);
    union {
        unsigned long bits;
        double number;
    } f64;
    union {
        unsigned int bits;
        float number;
    } f32;

    if (depth > 100) {
        die("a record is nested too deeply to print");
    }
    if (head < 0x80) {
        printf("%lu", head);
    }
    else if (head < 0x90) {
        print_items(head & 15, 1, depth);
    }
    else if (head < 0xa0) {
        print_items(head & 15, 0, depth);
    }
    else if (head < 0xc0) {
        print_text(head & 31);
    }
    else if (head >= 0xe0) {
        printf("%ld", (long) head - 256);
    }
    else {
        switch (head) {
        case 0xc0: fputs("null", stdout); break;
        case 0xc2: fputs("false", stdout); break;
        case 0xc3: fputs("true", stdout); break;
        case 0xc4: case 0xd9: print_text(take(1)); break;
        case 0xc5: case 0xda: print_text(take(2)); break;
        case 0xc6: case 0xdb: print_text(take(4)); break;
        case 0xc7: print_ext(take(1)); break;
        case 0xc8: print_ext(take(2)); break;
        case 0xc9: print_ext(take(4)); break;
        case 0xca: f32.bits = (unsigned int) take(4); printf("%.9g", (double) f32.number); break;
        case 0xcb: f64.bits = take(8); printf("%.17g", f64.number); break;
        case 0xcc: printf("%lu", take(1)); break;
        case 0xcd: printf("%lu", take(2)); break;
        case 0xce: printf("%lu", take(4)); break;
        case 0xcf: printf("%lu", take(8)); break;
        case 0xd0: printf("%d", (signed char) take(1)); break;
        case 0xd1: printf("%d", (short) take(2)); break;
        case 0xd2: printf("%d", (int) take(4)); break;
        case 0xd3: printf("%ld", (long) take(8)); break;
        case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8:
            print_ext(1ul << (head - 0xd4)); break;
        case 0xdc: print_items(take(2), 0, depth); break;
        case 0xdd: print_items(take(4), 0, depth); break;
        case 0xde: print_items(take(2), 1, depth); break;
        case 0xdf: print_items(take(4), 1, depth); break;
        default: die("no MessagePack: %02lx", head);
        }
    }
}

static void print(void)
{
    reader.at = (const unsigned char *) chunk.data;
    reader.end = reader.at + chunk.size;
    while (reader.at < reader.end) {
        print_value(0);
        putchar('\n');
    }
}

static void threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    int count = 0;

    while (tasks != NULL && (task = readdir(tasks)) != NULL) {
        count += task->d_name[0] != '.';
    }
    printf("threads: %d\n", count);
}

static void malloc_alignment(void)
{
    uintptr_t seen = 0;
    size_t size;

    for (size = 1; size < 200; size++) {
        seen |= (uintptr_t) zeroed(size);
    }
    printf("malloc: aligns to %d\n", (int) (seen & -seen));
}

static const char *next(char ***word)
{
    if (**word == NULL) {
        die("a command lacks an argument");
    }
    return *(*word)++;
}

int main(int argc, char **argv)
{
    char **word = argv + 1;

    (void) argc;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (*word != NULL) {
        const char *command = *word++;

        if (strcmp(command, "load") == 0) {
            load(next(&word));
        }
        else if (strcmp(command, "prop") == 0) {
            const char *key = next(&word);

            property_add(&options, key, next(&word));
        }
        else if (strcmp(command, "filter") == 0) {
            filter_start(next(&word));
        }
        else if (strcmp(command, "output") == 0) {
            output_start(next(&word));
        }
        else if (strcmp(command, "input") == 0) {
            input_start(next(&word));
        }
        else if (strcmp(command, "tick") == 0) {
            tick(next(&word));
        }
        else if (strcmp(command, "pause") == 0) {
            pause_input(next(&word), 1);
        }
        else if (strcmp(command, "resume") == 0) {
            pause_input(next(&word), 0);
        }
        else if (strcmp(command, "deliver") == 0) {
            deliver(next(&word));
        }
        else if (strcmp(command, "check") == 0) {
            const char *name = next(&word);

            printf("check %s: %d\n", name, filter_check(instance_start(name, FILTER)));
        }
        else if (strcmp(command, "lines") == 0) {
            lines(next(&word));
        }
        else if (strcmp(command, "chunk") == 0) {
            bytes(next(&word));
        }
        else if (strcmp(command, "run") == 0) {
            run(next(&word));
        }
        else if (strcmp(command, "print") == 0) {
            print();
        }
        else if (strcmp(command, "stop") == 0) {
            stop(next(&word));
        }
        else if (strcmp(command, "nulls") == 0) {
            nulls();
        }
        else if (strcmp(command, "metrics") == 0) {
            metrics();
        }
        else if (strcmp(command, "threads") == 0) {
            threads();
        }
        else if (strcmp(command, "malloc") == 0) {
            malloc_alignment();
        }
        else {
            die("unknown command %s", command);
        }
    }
    return 0;
}
