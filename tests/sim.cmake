# The stand-in GPU: libcuda.so.1, libnvrtc.so.13 and libcublas.so.13 in <build>/sim, and its tests.
foreach(text abi device)
    set(output ${CMAKE_CURRENT_BINARY_DIR}/sim_${text}_text.c)
    add_custom_command(OUTPUT ${output}
                       COMMAND ${CMAKE_COMMAND} -DINPUT=${CMAKE_CURRENT_SOURCE_DIR}/sim/sim_${text}.h
                               -DOUTPUT=${output} -DNAME=sim_${text}_text
                               -P ${CMAKE_SOURCE_DIR}/codegen/embed.cmake
                       DEPENDS sim/sim_${text}.h ${CMAKE_SOURCE_DIR}/codegen/embed.cmake)
    list(APPEND SIM_TEXTS ${output})
endforeach()

function(npc_sim_library name suffix)
    add_library(sim_${name} SHARED sim/sim_env.c ${ARGN})
    target_compile_options(sim_${name} PRIVATE -fvisibility=hidden)
    target_link_libraries(sim_${name} PRIVATE ${CMAKE_DL_LIBS} Threads::Threads)
    set_target_properties(sim_${name} PROPERTIES
        OUTPUT_NAME ${name} SUFFIX ${suffix} LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/sim
        BUILD_RPATH_USE_ORIGIN ON BUILD_RPATH $ORIGIN)
endfunction()

npc_sim_library(cuda .so.1 sim/device.c sim/memory.c sim/work.c sim/stream.c sim/copy.c sim/module.c sim/launch.c
                sim/block.c sim/check.c sim/fiber.c sim/warp.c ${CMAKE_SOURCE_DIR}/ir/storage.c)
npc_sim_library(nvrtc .so.13 sim/nvrtc.c sim/nvrtc_text.c sim/nvrtc_translate.c ${SIM_TEXTS})
npc_sim_library(cublas .so.13 sim/cublas.c ${CMAKE_SOURCE_DIR}/ir/storage.c)
target_link_libraries(sim_cublas PRIVATE sim_cuda)
# products by plain loops
set_source_files_properties(sim/cublas.c sim/warp.c PROPERTIES COMPILE_OPTIONS -O3)
if(NPC_SANITIZE)
    set(SIM_ADDRESS_FLAGS " -fsanitize=address")
    if(CMAKE_C_COMPILER_ID STREQUAL GNU)
        string(APPEND SIM_ADDRESS_FLAGS " -fsanitize-sections=npc_shared*")
    endif()
endif()
# kernels are translated by the same compiler, with the same address sanitizer
target_compile_definitions(sim_nvrtc PRIVATE
    SIM_DEFAULT_CC="${CMAKE_C_COMPILER}"
    SIM_KERNEL_FLAGS="-g1 -fsanitize=alignment -fsanitize=bounds${SIM_ADDRESS_FLAGS}")
set(NPC_SIM_LIBRARIES sim_cuda sim_nvrtc sim_cublas)

# npc_test whose program opens the simulator
function(npc_sim_test folder name)
    npc_test(${folder} ${name} ${ARGN})
    target_compile_definitions(test_${name} PRIVATE SIM_LIBRARIES="${CMAKE_BINARY_DIR}/sim")
    target_link_libraries(test_${name} PRIVATE ${CMAKE_DL_LIBS})
    add_dependencies(test_${name} ${NPC_SIM_LIBRARIES})
endfunction()

npc_sim_test(sim sim npc_codegen)
npc_sim_test(sim sim_faults npc_codegen)
npc_sim_test(sim sim_streams npc_codegen)
npc_sim_test(sim sim_check npc_codegen)
npc_sim_test(ops plans_cuda npc_passes npc_codegen npc_plan_check npc_random_graph)
npc_sim_test(sim sim_products npc_codegen)
npc_sim_test(sim sim_products_walk npc_codegen)
npc_sim_test(sim sim_joint npc_codegen)
npc_sim_test(sim sim_library npc_codegen)
npc_sim_test(sim sim_random npc_runtime)
# these run longer than their kernels are translated
set_tests_properties(sim.sim_products sim.sim_products_walk sim.sim_joint PROPERTIES ENVIRONMENT NPC_SIM_OPTIMIZE=-O1)
npc_sim_test(ops cuda_schedules npc_codegen)
npc_sim_test(ops cuda_members npc_codegen)
set_tests_properties(ops.cuda_members PROPERTIES ENVIRONMENT NPC_SIM_CHECK=1)

# every access checked for races; work as late as it may
add_test(NAME sim.checked_schedules COMMAND test_cuda_schedules WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
add_test(NAME sim.checked_step
         COMMAND npc verify models/dwiseneuro.nm tests/goldens/dwiseneuro/tiny.safetensors
                 --device cuda --precision bf16 --fuse full
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
foreach(name engine engine_inputs)
    add_test(NAME sim.late_${name} COMMAND test_${name} cuda WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endforeach()
set_tests_properties(sim.checked_schedules sim.checked_step PROPERTIES LABELS sim TIMEOUT 1200
    ENVIRONMENT "NPC_SIM_CHECK=1;NPC_CUDA_LIBRARIES=${CMAKE_BINARY_DIR}/sim")
set_tests_properties(sim.late_engine PROPERTIES LABELS sim
    ENVIRONMENT "NPC_SIM_LATE=1;NPC_CUDA_LIBRARIES=${CMAKE_BINARY_DIR}/sim")
set_tests_properties(sim.late_engine_inputs PROPERTIES LABELS sim
    ENVIRONMENT "NPC_SIM_LATE=1;NPC_SIM_CHECK=1;NPC_CUDA_LIBRARIES=${CMAKE_BINARY_DIR}/sim")

# losses and optimizers of recipes
foreach(part loss optimizer)
    add_test(NAME sim.${part} COMMAND test_${part} cuda WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(sim.${part} PROPERTIES LABELS sim ENVIRONMENT "NPC_SIM_CHECK=1;NPC_CUDA_LIBRARIES=${CMAKE_BINARY_DIR}/sim")
endforeach()
