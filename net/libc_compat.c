/* What a static nng built against glibc 2.38 misses on an older one: three names of functions
 * that are there under other names. The C23 variants of strtol read "0b" prefixes as well;
 * nng parses decimal ports only. */
#include <features.h>

#if defined(__GLIBC__) && !__GLIBC_PREREQ(2, 38)
#include <stdlib.h>
#include <string.h>

/* Declared here as no header does. */
long __isoc23_strtol(const char *text, char **end, int base);
unsigned long long __isoc23_strtoull(const char *text, char **end, int base);
size_t strlcpy(char *to, const char *from, size_t size);

long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }
unsigned long long __isoc23_strtoull(const char *text, char **end, int base) { return strtoull(text, end, base); }

size_t strlcpy(char *to, const char *from, size_t size) {
    size_t len = strlen(from), take = size == 0 ? 0 : len < size ? len : size - 1;
    if (take) memcpy(to, from, take);
    if (size) to[take] = '\0';
    return len;
}
#else
/* A translation unit may not be empty. */
typedef int libc_compat_nothing;
#endif
