// See libraries.h.
#include "core/libraries.h"

#include <cJSON.h>
#include <stdio.h>
#include <yaml.h>

int edt_core_libraries(edt_library out_libraries[static EDT_LIBRARIES_MAX])
{
    out_libraries[0] = (edt_library){.name = "cJSON", .purpose = "small JSON files"};
    (void)snprintf(out_libraries[0].version, sizeof out_libraries[0].version, "%s",
                   cJSON_Version());
    out_libraries[1] = (edt_library){.name = "libyaml", .purpose = "configurations"};
    (void)snprintf(out_libraries[1].version, sizeof out_libraries[1].version, "%s",
                   yaml_get_version_string());
    return 2;
}
