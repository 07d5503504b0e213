/* A reader of XML as S3 servers write it: elements, text, the five entities and numeric ones. No DTD, no entities of its own,
 * no recursion, no allocation but by xml_decode: what a hostile server can cost is the size of its answer. */
#ifndef ANNEAL_PERSIST_S3_XML_H
#define ANNEAL_PERSIST_S3_XML_H

#include "core/bytes.h"

#define XML_DEPTH_MAX 16

enum xml_token { XML_OPEN, XML_CLOSE, XML_TEXT, XML_END, XML_BAD };

struct xml {
    struct bytes rest;
    struct bytes open[XML_DEPTH_MAX]; /* names of the elements we are in */
    unsigned depth;
    bool closing; /* <a/> was opened; its end comes next */
    bool seen;    /* the root was */
};

static inline void xml_init(struct xml *xml, struct bytes text) { *xml = (struct xml){.rest = text}; }
/* OPEN and CLOSE: the name without its namespace; TEXT: as it is, see xml_decode. END after the root is closed; BAD for all
 * else, a text that ends too early included, and from then on. */
enum xml_token xml_next(struct xml *xml, struct bytes *out);
/* Appends the text with its entities replaced; false for one that is none. */
bool xml_decode(struct bytes text, struct buf *out);

#endif
