#include "net/inspect_store.h"

enum inspect_exit inspect_store(struct inspect *i) {
    struct catalog c;
    enum inspect_exit code = INSPECT_UNREADABLE;
    if (!catalog_open(&c, i)) goto out;
    if (!c.count)
        buf_printf(&i->error, "%s: there is nothing of anneal's in it%s", i->where, c.foreign.count ? ", but other objects" : "");
    else if (i->action == INSPECT_LIST)
        code = store_list(&c);
    else if (i->action == INSPECT_DUMP && i->object)
        code = store_one(&c);
    else
        code = store_verify(&c);
out:
    catalog_close(&c);
    return code;
}
