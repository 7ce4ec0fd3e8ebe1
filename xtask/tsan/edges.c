/* The order between threads that Rust's standard library makes where ThreadSanitizer cannot look.
 *
 * The standard library comes compiled without the sanitizer: an atomic access in a function of
 * its own is invisible, while the inlined half of the same lock, compiled with the program, is
 * seen. Each wrapper below calls the real function and states the one edge that it makes. `STD`
 * is the part of the mangled names that differs between builds of the library; the linker puts
 * the wrappers in place (`--wrap`).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOIN_(a, b, c, d) a##b##c##d
#define JOIN(a, b, c, d) JOIN_(a, b, c, d)
#define REAL(symbol) JOIN(__real_, symbol, , )
#define WRAP(symbol) JOIN(__wrap_, symbol, , )

extern void __tsan_acquire(void *address);
extern void __tsan_release(void *address);

/* Mutex::lock, when it had to wait: after whoever unlocked. */
#define LOCK JOIN(_RNvMNtNtNtNt, STD, 3sys4sync5mutex5futexNtB2_5Mutex14, lock_contended)
void REAL(LOCK)(void *mutex);
void WRAP(LOCK)(void *mutex) {
    REAL(LOCK)(mutex);
    __tsan_acquire(mutex);
}

/* RwLock::read and write, when they had to wait. Its state is one of two words. */
static void acquire_both(char *lock) {
    __tsan_acquire(lock);
    __tsan_acquire(lock + sizeof(uint32_t));
}

#define READ JOIN(_RNvMNtNtNtNt, STD, 3sys4sync6rwlock5futexNtB2_6RwLock14, read_contended)
void REAL(READ)(void *lock);
void WRAP(READ)(void *lock) {
    REAL(READ)(lock);
    acquire_both(lock);
}

#define WRITE JOIN(_RNvMNtNtNtNt, STD, 3sys4sync6rwlock5futexNtB2_6RwLock15, write_contended)
void REAL(WRITE)(void *lock);
void WRAP(WRITE)(void *lock) {
    REAL(WRITE)(lock);
    acquire_both(lock);
}

/* Condvar::wait and wait_timeout unlock the mutex, and lock it again. */
#define WAIT JOIN(_RNvMNtNtNtNt, STD, 3sys4sync7condvar5futexNtB2_7Condvar4, wait)
void REAL(WAIT)(void *condvar, void *mutex);
void WRAP(WAIT)(void *condvar, void *mutex) {
    __tsan_release(mutex);
    REAL(WAIT)(condvar, mutex);
    __tsan_acquire(mutex);
}

#define WAIT_TIMEOUT JOIN(_RNvMNtNtNtNt, STD, 3sys4sync7condvar5futexNtB2_7Condvar12, wait_timeout)
bool REAL(WAIT_TIMEOUT)(void *condvar, void *mutex, uint64_t seconds, uint32_t nanoseconds);
bool WRAP(WAIT_TIMEOUT)(void *condvar, void *mutex, uint64_t seconds, uint32_t nanoseconds) {
    __tsan_release(mutex);
    bool in_time = REAL(WAIT_TIMEOUT)(condvar, mutex, seconds, nanoseconds);
    __tsan_acquire(mutex);
    return in_time;
}

/* A scoped thread that ends, before the scope that waits for it. The count is one of three words. */
#define END JOIN(_RNvMNtNt, STD, 6thread6scopedNtB2_9ScopeData29, decrement_num_running_threads)
void REAL(END)(char *scope, bool panicked);
void WRAP(END)(char *scope, bool panicked) {
    for (size_t word = 0; word < 3; word++) {
        __tsan_release(scope + word * sizeof(size_t));
    }
    REAL(END)(scope, panicked);
}

/* Once::call (under OnceLock and LazyLock): what the closure did, before anybody finds it done.
 * The closure is a `&mut dyn FnMut(&OnceState)`: data and a table whose fifth entry calls it. */
#define CALL JOIN(_RNvMs0_NtNtNtNt, STD, 3sys4sync4once5futexNtB5_4Once4, call)
struct closure {
    void *data;
    void *const *table;
    void *once;
};

static void call_then_release(struct closure *closure, void *state) {
    void (*call)(void *, void *) = (void (*)(void *, void *))closure->table[4];
    call(closure->data, state);
    __tsan_release(closure->once);
}

void REAL(CALL)(void *once, bool force, void *data, void *const *table, void *location);
void WRAP(CALL)(void *once, bool force, void *data, void *const *table, void *location) {
    struct closure closure = {data, table, once};
    void *const own_table[] = {NULL, (void *)sizeof closure, (void *)sizeof(void *), NULL,
                               (void *)call_then_release};
    REAL(CALL)(once, force, &closure, own_table, location);
    __tsan_acquire(once);
}

/* Arc::drop releases its count, and the last one makes a fence, which the sanitizer does not
 * model. A count that goes down with release is taken to acquire as well. */
#define ACQUIRE_RELEASE 4
#define RELEASE 3
uint64_t __real___tsan_atomic64_fetch_sub(volatile uint64_t *count, uint64_t by, int order);
uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *count, uint64_t by, int order) {
    int seen = order == RELEASE ? ACQUIRE_RELEASE : order;
    return __real___tsan_atomic64_fetch_sub(count, by, seen);
}
