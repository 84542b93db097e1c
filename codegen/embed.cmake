# cmake -DINPUT=file -DOUTPUT=file.c -DNAME=symbol -P embed.cmake: a text file as a C string.
file(READ ${INPUT} text HEX)
string(REGEX REPLACE "(..)" "0x\\1," text "${text}")
string(REGEX REPLACE "(................................................................................)"
       "\\1\n    " text "${text}")
file(WRITE ${OUTPUT} "extern const char ${NAME}[];\nconst char ${NAME}[] = {\n    ${text}0};\n")
