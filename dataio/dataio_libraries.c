// See dataio_libraries.h. Versions are asked of the library loaded, but for libjpeg-turbo and
// giflib, which only tell the one they were compiled against.
#include "dataio/dataio_libraries.h"

#include <stdio.h>

#include <cairo.h>
#include <gif_lib.h>
#include <jpeglib.h> // uses stdio.h's FILE without including it
#include <lmdb.h>
#include <openssl/crypto.h>
#include <protobuf-c/protobuf-c.h>
#include <zlib.h>
#include <zstd.h>

#include "dataio/png_mask.h"
#ifdef EDT_VOC
#include "dataio/voc_xml.h"
#endif

#define TEXT(x) #x
#define EXPANDED_TEXT(x) TEXT(x)

static void put(edt_library *library, const char *name, const char *version,
                const char *purpose)
{
    *library = (edt_library){.name = name, .purpose = purpose};
    (void)snprintf(library->version, sizeof library->version, "%s", version);
}

int edt_dataio_libraries(edt_library out_libraries[static EDT_LIBRARIES_MAX])
{
    put(&out_libraries[0], "protobuf-c", protobuf_c_version(), "records and checkpoints");
    put(&out_libraries[1], "zlib", zlibVersion(), "compressed shards");
    put(&out_libraries[2], "libjpeg-turbo", EXPANDED_TEXT(LIBJPEG_TURBO_VERSION),
        "decoding and encoding JPEG");
    put(&out_libraries[3], "libcrypto", OpenSSL_version(OPENSSL_VERSION_STRING),
        "SHA-256 of pictures");
    put(&out_libraries[4], "cairo", cairo_version_string(), "drawn boxes and labels");
    put(&out_libraries[5], "zstd", ZSTD_versionString(), "seekable compressed shards");
    int major, minor, patch;
    (void)mdb_version(&major, &minor, &patch);
    char version[32];
    (void)snprintf(version, sizeof version, "%d.%d.%d", major, minor, patch);
    put(&out_libraries[6], "LMDB", version, "catalogs of data sets");
    put(&out_libraries[7], "libpng", edt_png_mask_library_version(), "PNG pictures and masks");
    (void)snprintf(version, sizeof version, "%d.%d.%d", GIFLIB_MAJOR, GIFLIB_MINOR,
                   GIFLIB_RELEASE);
    put(&out_libraries[8], "giflib", version, "GIF pictures");
#ifdef EDT_VOC
    put(&out_libraries[9], "libxml2", edt_voc_xml_library_version(),
        "annotations of PASCAL VOC");
    return 10;
#else
    return 9;
#endif
}
