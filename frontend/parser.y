/* Grammar of the .nm language, LALR(1) without conflicts. Actions only call build.h; tokens carry
 * no value but their place, from which build.h reads the text. */
%require "3.8"
%define api.pure full
%define api.prefix {nm_}
%define api.token.prefix {TOKEN_}
%define api.location.type {Span}
%define parse.error custom
%locations
%param {Parser *p}
%expect 0

%code requires {
#include "frontend/build.h"
}

%code {
#include "frontend/syntax_error.h"

/* The whole stack is automatic memory: nothing to free when an allocation leaves by longjmp. */
#define YYMAXDEPTH 6000
#define YYINITDEPTH YYMAXDEPTH
#define YYLLOC_DEFAULT(Current, Rhs, N)                                                            \
    (Current) = (N) ? span_join(YYRHSLOC(Rhs, 1), YYRHSLOC(Rhs, N)) : span_after(YYRHSLOC(Rhs, 0))

static Span span_after(Span s)
{
    return (Span){s.file, s.end, s.end};
}

static int nm_lex(YYSTYPE *value, Span *span, Parser *p)
{
    (void)value;
    return parser_next(p, span);
}

static void nm_error(const Span *span, Parser *p, const char *text)
{
    (void)text; /* only ever "memory exhausted": YYMAXDEPTH */
    syntax_error_depth(p, *span);
}
}

%union {
    Expr *expr;
    Item *item;
    Items *items;
    Type *type;
    Formal *formal;
    Formals *formals;
    Per *per;
    Body *body;
    Stmt *stmt;
    Decl *decl;
    Branches *branches;
    Imports *imports;
    NameLines *lines;
}

/* The words in which messages name what was found or expected. */
%token END 0 "the end of the file" NEWLINE "the end of the line"
%token NAME "a name" NUMBER "a number" UNIT "a unit" STRING "a string"
%token BAD "a bad character" COMMENT "a comment"
%token START_FILE "a file" START_EXPR "an expression"
%token USE "'use'" BLOCK "'block'" MODEL "'model'" RECIPE "'recipe'" NAMES "'names'"
%token PART "'part'" PARAM "'param'" REPLACE "'replace'" STAGE "'stage'" RETURN "'return'"
%token FOR "'for'" PER "'per'" IN "'in'" IF "'if'" ELSE "'else'" YES "'yes'" NO "'no'"
%token ARROW "'->'" PIPE "'|>'" AND "'and'" OR "'or'" NOT "'not'" RANGE "'..'"
%token ':' '=' ',' ')' ']' '{' '}' ';' '(' '[' '.'
%token EQ "'=='" NE "'!='" LE "'<='" GE "'>='"

%precedence PIPE
%right IF
%left OR
%left AND
%precedence NOT
%nonassoc EQ NE LE GE '<' '>'
%nonassoc RANGE
%left '+' '-'
%left '*' '/'
%precedence UNARY
%right '^'

%type <expr> expr primary bracket index over pattern targets stage choices
%type <item> item axis arg
%type <items> items args arg_list exprs patterns attributes
%type <type> type types result
%type <formal> formal
%type <formals> formals formal_list
%type <per> per
%type <body> body lines
%type <stmt> stmt
%type <branches> branches
%type <decl> decl base
%type <imports> imports
%type <lines> name_map name_lines

%%

start: START_FILE decls
     | START_EXPR expr                  { p->expression = $2; }
     ;

end: NEWLINE | ';' ;

decls: %empty
     | decls end
     | decls decl end                   { build_add_decl(p, $2); yyerrok; }
     ;

decl: USE STRING '(' imports ')'        { $$ = build_use(p, @2, false, $4, @$); }
    | USE NAME '(' imports ')'          { $$ = build_use(p, @2, true, $4, @$); }
    | BLOCK NAME formals result body    { $$ = build_block(p, DECL_BLOCK, @2, $3, $4, $5, @$); }
    | MODEL NAME formals result body    { $$ = build_block(p, DECL_MODEL, @2, $3, $4, $5, @$); }
    | MODEL NAME '=' NAME               { $$ = build_variant(p, @2, @4, NULL, NULL, @$); }
    | MODEL NAME '=' NAME args          { $$ = build_variant(p, @2, @4, $5, NULL, @$); }
    | MODEL NAME '=' NAME body          { $$ = build_variant(p, @2, @4, NULL, $5, @$); }
    | MODEL NAME '=' NAME args body     { $$ = build_variant(p, @2, @4, $5, $6, @$); }
    | RECIPE NAME base body             { $$ = build_recipe(p, $3, @2, $4, @$); }
    | NAMES NAME name_map               { $$ = build_names(p, @2, $3, @$); }
    | NAME '=' expr                     { $$ = build_constant(p, @1, $3, @$); }
    | error                             { $$ = build_bad_decl(p, @$); }
    | error body                        { $$ = build_bad_decl(p, @$); }
    ;

imports: NAME                           { $$ = build_import(p, NULL, @1); }
       | imports ',' NAME               { $$ = build_import(p, $1, @3); }
       ;

formals: '(' ')'                        { $$ = ARENA_NEW(p->arena, Formals); }
       | '(' formal_list ')'            { $$ = $2; }
       | '(' formal_list ',' ')'        { $$ = $2; }
       ;

formal_list: formal                     { $$ = build_formals(p, NULL, $1); }
           | formal_list ',' formal     { $$ = build_formals(p, $1, $3); }
           ;

formal: NAME ':' type choices           { $$ = build_formal(p, @1, $3, $4, NULL, @$); }
      | NAME ':' type choices '=' expr  { $$ = build_formal(p, @1, $3, $4, $6, @$); }
      ;

choices: %empty                         { $$ = NULL; }
       | IN expr                        { $$ = $2; }
       ;

type: bracket                           { $$ = build_tensor_type(p, $1); }
    | NAME                              { $$ = build_word_type(p, @1); }
    ;

result: %empty                          { $$ = NULL; }
      | ARROW type                      { $$ = $2; }
      | ARROW '(' types ')'             { $$ = $3; }
      | ARROW per bracket               { $$ = build_per_type(p, $2, $3); }
      ;

types: type                             { $$ = build_tuple_type(p, NULL, $1); }
     | types ',' type                   { $$ = build_tuple_type(p, $1, $3); }
     ;

per: PER NAME IN over                   { $$ = build_per(p, @2, $4, @$); } ;

over: NAME                              { $$ = build_name(p, @1); } ;

base: FOR NAME                          { $$ = build_recipe_base(p, SPAN_NONE, @2); }
    | '=' NAME FOR NAME                 { $$ = build_recipe_base(p, @2, @4); }
    ;

name_map: '{' name_lines '}'            { $$ = $2; }
        | '{' name_lines name_line '}'  { $$ = $2; }
        ;

body: '{' lines '}'                     { $$ = build_body(p, $2, NULL, @$); }
    | '{' lines stmt '}'                { $$ = build_body(p, $2, $3, @$); yyerrok; }
    ;

lines: %empty                           { $$ = ARENA_NEW(p->arena, Body); }
     | lines end                        { $$ = $1; }
     | lines stmt end                   { $$ = build_body(p, $1, $2, @$); yyerrok; }
     ;

stmt: expr                              { $$ = build_statement(p, $1); }
    | expr '=' expr                     { $$ = build_assign(p, $1, $3, @$); }
    | RETURN expr                       { $$ = build_return(p, $2, @$); }
    | FOR targets IN expr body          { $$ = build_for(p, $2, $4, $5, @$); }
    | branches                          { $$ = build_if(p, $1, @$); }
    | branches ELSE body                { $$ = build_if(p, build_branch(p, $1, NULL, $3), @$); }
    | PART NAME body                    { $$ = build_part(p, @2, NULL, $3, @$); }
    | PART NAME per body                { $$ = build_part(p, @2, $3, $4, @$); }
    | PARAM NAME ':' type attributes    { $$ = build_param(p, @2, $4, $5, NULL, @$); }
    | PARAM NAME ':' type attributes '=' expr
                                        { $$ = build_param(p, @2, $4, $5, $7, @$); }
    | REPLACE NAME body                 { $$ = build_replace(p, @2, $3, @$); }
    | STAGE NAME args body              { $$ = build_stage(p, @2, $3, $4, @$); }
    | STAGE NAME body                   { $$ = build_stage(p, @2, NULL, $3, @$); }
    | error                             { $$ = build_bad_statement(p, @$); }
    | error body                        { $$ = build_bad_statement(p, @$); }
    ;

branches: IF expr body                  { $$ = build_branch(p, NULL, $2, $3); }
        | branches ELSE IF expr body    { $$ = build_branch(p, $1, $4, $5); }
        ;

attributes: %empty                      { $$ = NULL; }
          | args                        { $$ = $1; }
          ;

targets: pattern
       | pattern ',' patterns           { $$ = build_tuple(p, $1, $3, @$); }
       ;

patterns: pattern                       { $$ = build_value(p, NULL, $1); }
        | patterns ',' pattern          { $$ = build_value(p, $1, $3); }
        ;

pattern: NAME                           { $$ = build_name(p, @1); }
       | '(' pattern ',' patterns ')'   { $$ = build_tuple(p, $2, $4, @$); }
       ;

name_lines: %empty                      { $$ = ARENA_NEW(p->arena, NameLines); p->lines = $$; }
          | name_lines end
          | name_lines name_line end    { $$ = $1; yyerrok; }
          ;

name_line: STRING '=' STRING            { build_name_line(p, @1, @3); }
         | error
         ;

expr: primary
    | expr '+' expr                     { $$ = build_binary(p, OPERATOR_ADD, $1, $3, @2, @$); }
    | expr '-' expr                     { $$ = build_binary(p, OPERATOR_SUB, $1, $3, @2, @$); }
    | expr '*' expr                     { $$ = build_binary(p, OPERATOR_MUL, $1, $3, @2, @$); }
    | expr '/' expr                     { $$ = build_binary(p, OPERATOR_DIV, $1, $3, @2, @$); }
    | expr '^' expr                     { $$ = build_binary(p, OPERATOR_POW, $1, $3, @2, @$); }
    | expr EQ expr                      { $$ = build_binary(p, OPERATOR_EQ, $1, $3, @2, @$); }
    | expr NE expr                      { $$ = build_binary(p, OPERATOR_NE, $1, $3, @2, @$); }
    | expr '<' expr                     { $$ = build_binary(p, OPERATOR_LT, $1, $3, @2, @$); }
    | expr LE expr                      { $$ = build_binary(p, OPERATOR_LE, $1, $3, @2, @$); }
    | expr '>' expr                     { $$ = build_binary(p, OPERATOR_GT, $1, $3, @2, @$); }
    | expr GE expr                      { $$ = build_binary(p, OPERATOR_GE, $1, $3, @2, @$); }
    | expr AND expr                     { $$ = build_binary(p, OPERATOR_AND, $1, $3, @2, @$); }
    | expr OR expr                      { $$ = build_binary(p, OPERATOR_OR, $1, $3, @2, @$); }
    | NOT expr                          { $$ = build_unary(p, OPERATOR_NOT, $2, @1, @$); }
    | '-' expr %prec UNARY              { $$ = build_unary(p, OPERATOR_NEG, $2, @1, @$); }
    | expr RANGE expr                   { $$ = build_range(p, $1, $3, @$); }
    | expr IF expr ELSE expr %prec IF   { $$ = build_choice(p, $1, $3, $5, @$); }
    | expr PIPE stage                   { $$ = build_pipe(p, $1, $3, @2, @$); }
    ;

stage: NAME                             { $$ = build_call(p, build_name(p, @1), NULL, @$); }
     | NAME args                        { $$ = build_call(p, build_name(p, @1), $2, @$); }
     ;

primary: NAME                           { $$ = build_name(p, @1); }
       | NUMBER                         { $$ = build_number(p, @1, SPAN_NONE); }
       | NUMBER UNIT                    { $$ = build_number(p, @1, @2); }
       | STRING                         { $$ = build_string(p, @1); }
       | YES                            { $$ = build_bool(p, true, @1); }
       | NO                             { $$ = build_bool(p, false, @1); }
       | primary '.' NAME               { $$ = build_member(p, $1, @3, @$); }
       | primary '[' index ']'          { $$ = build_index(p, $1, $3, @$); }
       | primary args                   { $$ = build_call(p, $1, $2, @$); }
       | bracket
       | '(' expr ')'                   { $$ = $2; }
       | '(' expr ',' exprs ')'         { $$ = build_tuple(p, $2, $4, @$); }
       ;

exprs: expr                             { $$ = build_value(p, NULL, $1); }
     | exprs ',' expr                   { $$ = build_value(p, $1, $3); }
     ;

index: expr
     | expr RANGE                       { $$ = build_range(p, $1, NULL, @$); }
     | RANGE expr                       { $$ = build_range(p, NULL, $2, @$); }
     | RANGE                            { $$ = build_range(p, NULL, NULL, @$); }
     ;

args: '(' ')'                           { $$ = ARENA_NEW(p->arena, Items); }
    | '(' arg_list ')'                  { $$ = $2; }
    | '(' arg_list ',' ')'              { $$ = $2; }
    ;

arg_list: arg                           { $$ = build_item_add(p, NULL, $1); }
        | arg_list ',' arg              { $$ = build_item_add(p, $1, $3); }
        ;

arg: expr                               { $$ = build_item(p, SPAN_NONE, $1); }
   | NAME ':' expr                      { $$ = build_item(p, @1, $3); }
   | NAME '=' expr                      { $$ = build_item_with_equals(p, @1, $3, @2); }
   ;

bracket: '[' ']'                        { $$ = build_bracket(p, NULL, @$); }
       | '[' items ']'                  { $$ = build_bracket(p, $2, @$); }
       | '[' items ',' ']'              { $$ = build_bracket(p, $2, @$); }
       ;

items: item                             { $$ = build_item_add(p, NULL, $1); }
     | items ',' item                   { $$ = build_item_add(p, $1, $3); }
     | items axis                       { $$ = build_item_add(p, $1, $2); }
     ;

item: expr                              { $$ = build_item(p, SPAN_NONE, $1); }
    | NAME ':' expr                     { $$ = build_item(p, @1, $3); }
    | NAME '=' expr                     { $$ = build_item_with_equals(p, @1, $3, @2); }
    | STRING ':' expr                   { $$ = build_item(p, @1, $3); }
    ;

axis: NAME                              { $$ = build_item(p, SPAN_NONE, build_name(p, @1)); }
    | NAME ':' expr                     { $$ = build_item(p, @1, $3); }
    | NAME '=' expr                     { $$ = build_item_with_equals(p, @1, $3, @2); }
    ;

%%

static int yyreport_syntax_error(const yypcontext_t *context, Parser *p)
{
    yysymbol_kind_t expected[YYNTOKENS];
    const char *words[YYNTOKENS];
    int n = yypcontext_expected_tokens(context, expected, YYNTOKENS);

    for (int i = 0; i < n; i++)
        words[i] = yysymbol_name(expected[i]);
    syntax_error_report(p, words, n);
    return 0;
}
