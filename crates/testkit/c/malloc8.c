/*
 * A malloc for the host that aligns to 8 bytes and never to 16, which is what
 * jemalloc does for some sizes when built the way Fluent Bit builds it.
 * Blocks come from a chunk of address space and are only reused by size.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { CLASSES = 64 };
#define SPACE ((size_t) 1 << 32)

/* Before each block; a free block's first word is the next free one. */
struct head {
    size_t size;
};

static char *space;
static size_t used;
static void *reusable[CLASSES];
static char lock;

static void enter(void)
{
    while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) {
    }
}

static void leave(void)
{
    __atomic_clear(&lock, __ATOMIC_RELEASE);
}

static struct head *head_of(void *block)
{
    return (struct head *) block - 1;
}

/* Sizes that are equal modulo their alignment share a class; the rest is not reused. */
static int class_of(size_t size)
{
    return size / 16 < CLASSES ? (int) (size / 16) : -1;
}

/* A new block at an address of that alignment plus `offset`. */
static void *carve(size_t size, size_t alignment, size_t offset)
{
    uintptr_t at;

    if (size > SPACE / 2) {
        return NULL;
    }
    if (space == NULL) {
        space = mmap(NULL, SPACE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (space == MAP_FAILED) {
            space = NULL;
            return NULL;
        }
    }
    at = (uintptr_t) space + used + sizeof(struct head) + alignment;
    at = at / alignment * alignment + offset;
    if (at + size > (uintptr_t) space + SPACE) {
        return NULL;
    }
    used = at + size - (uintptr_t) space;
    head_of((void *) at)->size = size;
    return (void *) at;
}

void *malloc(size_t size)
{
    int class;
    void *block;

    size = (size + 16) / 16 * 16;
    class = class_of(size);
    enter();
    if (class >= 0 && reusable[class] != NULL) {
        block = reusable[class];
        memcpy(&reusable[class], block, sizeof(void *));
    }
    else {
        block = carve(size, 16, 8);
    }
    leave();
    if (block == NULL) {
        errno = ENOMEM;
    }
    return block;
}

void free(void *block)
{
    int class;

    if (block == NULL) {
        return;
    }
    class = class_of(head_of(block)->size);
    memset(block, 0xdf, head_of(block)->size);
    /* Aligned blocks are not handed out again as ordinary ones. */
    if (class < 0 || (uintptr_t) block % 16 != 8) {
        return;
    }
    enter();
    memcpy(block, &reusable[class], sizeof(void *));
    reusable[class] = block;
    leave();
}

void *calloc(size_t count, size_t size)
{
    size_t total;
    void *block;

    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    block = malloc(total);
    if (block != NULL) {
        memset(block, 0, total);
    }
    return block;
}

void *realloc(void *old, size_t size)
{
    void *block = malloc(size);

    if (block != NULL && old != NULL) {
        size_t before = head_of(old)->size;

        memcpy(block, old, before < size ? before : size);
        free(old);
    }
    return block;
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    enter();
    *block = carve((size + 16) / 16 * 16, alignment < 16 ? 16 : alignment, 0);
    leave();
    return *block == NULL ? ENOMEM : 0;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    void *block;

    return posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}

void *memalign(size_t alignment, size_t size)
{
    return aligned_alloc(alignment, size);
}

size_t malloc_usable_size(void *block)
{
    return block == NULL ? 0 : head_of(block)->size;
}
