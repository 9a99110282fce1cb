/*
 * Types of the Fluent Bit plugin ABI that never changed between 1.9.0 and
 * 5.1.1. LP64 only: x86_64 and aarch64 lay everything here out alike.
 *
 * The headers of this directory declare the structs that the plugin fills or
 * the host copies, and the host's functions. A struct that changed exists once
 * per layout; its suffix is the first release that has it. Every claim is a
 * static assertion, so a C compiler checks the description, and the bindings
 * made from it (src/ffi/bindings.rs) check the Rust side. The host's instances,
 * of which a few fields are read, are in tables of offsets: src/ffi/instance.
 */
#ifndef KUBE_AUDIT_COMMON_H
#define KUBE_AUDIT_COMMON_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define KA_SIZE(type, size) \
    static_assert(sizeof(struct type) == (size), "size of " #type)
#define KA_AT(type, field, offset) \
    static_assert(offsetof(struct type, field) == (offset), #type "." #field)

/* Never looked into, only passed on. */
struct cmt;
struct cmt_counter;
struct cmt_gauge;
struct flb_config;
struct flb_filter_instance;
struct flb_input_instance;
struct flb_output_instance;

/* A circular list; the head is a node without an element. */
struct mk_list {
    struct mk_list *prev;
    struct mk_list *next;
};
KA_SIZE(mk_list, 16);
KA_AT(mk_list, next, 8);

/* One property. NUL-terminated strings; `val` may be NULL for an output. */
struct flb_kv {
    char *key;
    char *val;
    struct mk_list _head;
};
KA_SIZE(flb_kv, 32);
KA_AT(flb_kv, _head, 16);

/* Severities of flb_log_print and of an instance's log_level. */
#define FLB_LOG_ERROR 1
#define FLB_LOG_WARN 2
#define FLB_LOG_INFO 3
#define FLB_LOG_DEBUG 4

/* Functions of the host that the plugin looks up by name (dlsym). */
typedef int flb_log_print_fn(int type, const char *file, int line, const char *format, ...);
typedef struct cmt *cmt_create_fn(void);
typedef void cmt_destroy_fn(struct cmt *cmt);
typedef char *cmt_encode_text_create_fn(struct cmt *cmt);
typedef void cmt_encode_text_destroy_fn(char *text);
/* Adds a gauge that names the host's version; reads little of `config`. */
typedef int flb_metrics_fluentbit_add_fn(struct flb_config *config, struct cmt *cmt);
/* Strings are copied; `help` must not be empty. The metric belongs to `cmt`. */
typedef struct cmt_counter *cmt_counter_create_fn(struct cmt *cmt, char *ns, char *subsystem,
                                                  char *name, char *help, int label_count,
                                                  char **label_keys);
typedef struct cmt_gauge *cmt_gauge_create_fn(struct cmt *cmt, char *ns, char *subsystem,
                                              char *name, char *help, int label_count,
                                              char **label_keys);
/* Nanoseconds since 1970. A set of label values that is new is added; 0 is success. */
typedef int cmt_counter_set_fn(struct cmt_counter *counter, uint64_t timestamp, double value,
                               int label_count, char **label_values);
typedef int cmt_gauge_set_fn(struct cmt_gauge *gauge, uint64_t timestamp, double value,
                             int label_count, char **label_values);

/* A compiled regular expression. */
struct flb_regex;
/* Compiles a pattern of Ruby's syntax, optionally between slashes; null if it
 * is wrong. Before 5.1.0 it reads beyond an empty pattern and beyond a lone slash. */
typedef struct flb_regex *flb_regex_create_fn(const char *pattern);
/* Above 0 when the pattern is found anywhere in the text. */
typedef int flb_regex_match_fn(struct flb_regex *regex, unsigned char *text, size_t size);
typedef int flb_regex_destroy_fn(struct flb_regex *regex);

#endif
