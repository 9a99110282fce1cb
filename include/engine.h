/*
 * The host's event loop and coroutines, as far as an output needs them to wait
 * without holding up anything else. All of it is the same from 1.9.3 to 5.1.1.
 */
#ifndef KUBE_AUDIT_ENGINE_H
#define KUBE_AUDIT_ENGINE_H

#include "common.h"

/* Never looked into, only passed on. */
struct flb_coro;
struct mk_event_loop;

/* mk_event.type: the loop calls `handler` with the event, on its thread's own stack. */
#define MK_EVENT_CUSTOM 4
/* mk_event.mask: not in a loop yet; to be told when there is something to read. */
#define MK_EVENT_EMPTY 0
#define MK_EVENT_READ 1
/* mk_event.status: not in a loop. */
#define MK_EVENT_NONE 1

/* A descriptor in a loop. It stays where it is until it is taken out again. */
struct mk_event {
    int fd;
    int type;
    uint32_t mask;
    uint8_t status;
    void *data;
    int (*handler)(void *event);
    struct mk_list _head;
    struct mk_list _priority_head;
    char priority;
};
KA_SIZE(mk_event, 72);
KA_AT(mk_event, status, 12);
KA_AT(mk_event, data, 16);
KA_AT(mk_event, handler, 24);
KA_AT(mk_event, _priority_head, 48);
KA_AT(mk_event, priority, 64);

/* The loop of the calling thread; NULL where it has none. */
typedef struct mk_event_loop *flb_engine_evl_get_fn(void);
/* 0 is success. `event` is a struct mk_event. Both for the loop's thread alone. */
typedef int mk_event_add_fn(struct mk_event_loop *loop, int fd, int type, uint32_t mask,
                            void *event);
typedef int mk_event_del_fn(struct mk_event_loop *loop, struct mk_event *event);

/* The stack that runs now, and going on with another one of the same thread. */
typedef void *co_active_fn(void);
typedef void co_switch_fn(void *stack);
/* The coroutine that the calling thread has begun or resumed last. A flush that
 * returns looks it up, so whoever resumes one sets it before. */
typedef struct flb_coro *flb_coro_get_fn(void);
typedef void flb_coro_set_fn(struct flb_coro *coro);

#endif
