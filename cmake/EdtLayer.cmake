# One static library per layer (folder), with the warnings, sanitizers and floating-point rules
# that every file of ours is built with.
#
#   edt_layer(core SOURCES a.c b.c DEPENDS edt_x PACKAGES cjson libyaml)
#
# Arithmetic is IEEE without contraction: results do not depend on which CPU runs them. Kernels
# that want FMA are built by backend/cpu/CMakeLists.txt with flags of their own.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# The plug-ins (core/plugin.h) hold copies of the layers they stand on.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_library(edt_flags INTERFACE)
# Of C only: kernels of the cuda backend have flags of their own (EdtCuda.cmake).
function(edt_c_options)
  foreach(option ${ARGN})
    target_compile_options(edt_flags INTERFACE $<$<COMPILE_LANGUAGE:C>:${option}>)
  endforeach()
endfunction()
edt_c_options(-Wall -Wextra -Wconversion -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes
  -ffp-contract=off -fno-math-errno -fno-omit-frame-pointer)
if(EDT_WERROR)
  edt_c_options(-Werror)
endif()
# Plug-ins hold copies of the lower layers.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(EDT_SANITIZE)
  edt_c_options(-fsanitize=${EDT_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(edt_flags INTERFACE -fsanitize=${EDT_SANITIZE})
endif()
if(EDT_FUZZ_LIBFUZZER)
  # The coverage that libFuzzer steers by must see the code under test.
  edt_c_options(-fsanitize=fuzzer-no-link)
  target_link_options(edt_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_compile_definitions(edt_flags INTERFACE _GNU_SOURCE EDT_VERSION="${PROJECT_VERSION}")
target_include_directories(edt_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_link_libraries(edt_flags INTERFACE Threads::Threads m)

function(edt_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PACKAGES" ${ARGN})
  if(NOT ARG_SOURCES)
    add_library(edt_${name} INTERFACE)
    target_link_libraries(edt_${name} INTERFACE edt_flags ${ARG_DEPENDS})
    return()
  endif()
  add_library(edt_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(edt_${name} PUBLIC edt_flags ${ARG_DEPENDS})
  foreach(package ${ARG_PACKAGES})
    pkg_check_modules(pkg_${package} REQUIRED IMPORTED_TARGET ${package})
    target_link_libraries(edt_${name} PRIVATE PkgConfig::pkg_${package})
  endforeach()
endfunction()

# Generated protobuf-c code, kept out of the warnings above.
find_program(PROTOC_C protoc-c REQUIRED)
function(edt_protobuf target)
  foreach(proto ${ARGN})
    get_filename_component(stem ${proto} NAME_WE)
    get_filename_component(folder ${proto} DIRECTORY)
    file(RELATIVE_PATH relative ${CMAKE_SOURCE_DIR} ${folder})
    set(out ${CMAKE_BINARY_DIR}/generated/${relative})
    file(MAKE_DIRECTORY ${out})
    add_custom_command(
      OUTPUT ${out}/${stem}.pb-c.c ${out}/${stem}.pb-c.h
      COMMAND ${PROTOC_C} --proto_path=${folder} --c_out=${out} ${proto}
      DEPENDS ${proto})
    set_source_files_properties(${out}/${stem}.pb-c.c PROPERTIES COMPILE_OPTIONS "-w")
    target_sources(${target} PRIVATE ${out}/${stem}.pb-c.c)
  endforeach()
  target_include_directories(${target} SYSTEM PRIVATE ${CMAKE_BINARY_DIR}/generated)
endfunction()
