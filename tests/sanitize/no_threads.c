// Stands before pthread_create in unit tests that ThreadSanitizer leaves out
// (tests/CMakeLists.txt), and ends one that starts a thread after all.
#include <stdio.h>
#include <stdlib.h>

int __wrap_pthread_create(void *thread, const void *attributes, void *(*run)(void *),
                          void *arg);

int __wrap_pthread_create(void *thread, const void *attributes, void *(*run)(void *), void *arg)
{
    (void)thread;
    (void)attributes;
    (void)run;
    (void)arg;
    (void)fprintf(stderr, "this test starts threads: name it in threaded_unit_tests of "
                          "tests/CMakeLists.txt, so that ThreadSanitizer sees it\n");
    abort();
}
