# Models trained from their files on recordings. They need the code generator: the interpreter is too
# slow. A script gets the tool's path; 77 says that what it needs is not there.
if(NPC_LLVM)
    foreach(name mixed baselines windows macaque)
        add_test(NAME models.${name} COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/models/${name}.sh
                                             $<TARGET_FILE:npc>
                 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
        set_tests_properties(models.${name} PROPERTIES LABELS models SKIP_RETURN_CODE 77 TIMEOUT 1200)
    endforeach()
endif()
