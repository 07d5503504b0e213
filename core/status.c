#include "core/status.h"

static const char *const texts[] = {
#define X(name, text) text,
    STATUS_TABLE(X)
#undef X
};

const char *status_text(enum status status) {
    return (unsigned)status < STATUS_COUNT ? texts[status] : "unknown status";
}
