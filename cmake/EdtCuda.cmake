# CUDA: whether libedt_cuda.so is built (EDT_CUDA), and what its emulated twin for tests needs
# (tests/cuda_emulator): NVIDIA's headers and a C++ compiler, no GPU. Sets
#   EDT_WITH_CUDA       the plug-in is built; EDT_CUBLASLT and EDT_CUDNN are its libraries
#   EDT_WITH_EMULATOR   the twin is built
#   EDT_CUDA_INCLUDE    folder of the headers
# Programs need neither: the plug-in is opened when --device=cuda asks for it (core/plugin.h).

find_program(EDT_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda/bin /opt/cuda/bin)
set(cuda_hint)
if(EDT_NVCC)
  get_filename_component(cuda_hint ${EDT_NVCC} REALPATH)
  get_filename_component(cuda_hint ${cuda_hint} DIRECTORY)
  get_filename_component(cuda_hint ${cuda_hint} DIRECTORY)
endif()
set(cuda_hints HINTS ${cuda_hint} ${cuda_hint}/targets/x86_64-linux PATHS /usr/local/cuda /usr/local)
find_path(EDT_CUDA_INCLUDE cuda_runtime_api.h ${cuda_hints} PATH_SUFFIXES include)
find_path(EDT_CUBLASLT_INCLUDE cublasLt.h ${cuda_hints} PATH_SUFFIXES include)
find_path(EDT_CUDNN_INCLUDE cudnn.h ${cuda_hints} PATH_SUFFIXES include)
find_library(EDT_CUBLASLT cublasLt ${cuda_hints} PATH_SUFFIXES lib64 lib)
find_library(EDT_CUDNN cudnn ${cuda_hints} PATH_SUFFIXES lib64 lib)

set(EDT_WITH_CUDA OFF)
if(NOT EDT_CUDA STREQUAL "OFF")
  set(missing)
  foreach(part EDT_NVCC EDT_CUDA_INCLUDE EDT_CUBLASLT_INCLUDE EDT_CUDNN_INCLUDE EDT_CUBLASLT EDT_CUDNN)
    if(NOT ${part})
      list(APPEND missing ${part})
    endif()
  endforeach()
  if(NOT missing)
    set(EDT_WITH_CUDA ON)
  elseif(EDT_CUDA STREQUAL "AUTO")
    message(STATUS "no CUDA backend: ${missing} not found")
  else()
    message(FATAL_ERROR "EDT_CUDA=ON, but ${missing} not found; install the CUDA toolkit with cuBLASLt "
      "and cuDNN, set CUDA_HOME, or configure with -DEDT_CUDA=OFF")
  endif()
endif()

if(EDT_WITH_CUDA)
  # A100 and H100; what comes after compiles the intermediate code when it is loaded.
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 90-virtual)
  endif()
  set(CMAKE_CUDA_COMPILER ${EDT_NVCC})
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
endif()

set(EDT_WITH_EMULATOR OFF)
if(EDT_TESTS AND EDT_CUDA_INCLUDE AND EDT_CUBLASLT_INCLUDE AND EDT_CUDNN_INCLUDE
    AND NOT EDT_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CXX)
  if(CMAKE_CXX_COMPILER)
    enable_language(CXX)
    set(CMAKE_CXX_STANDARD 17)
    set(CMAKE_CXX_STANDARD_REQUIRED ON)
    set(EDT_WITH_EMULATOR ON)
  endif()
endif()

# A plug-in: one exported table, everything else its own.
function(edt_plugin_properties target folder)
  set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME ${ARGN}
    LIBRARY_OUTPUT_DIRECTORY ${folder}
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  target_link_options(${target} PRIVATE LINKER:--exclude-libs,ALL)
  if(NOT EDT_SANITIZE) # whose runtime is in the program
    target_link_options(${target} PRIVATE LINKER:-z,defs)
  endif()
endfunction()
